//! What the door takes of the machine: memory and descriptors, over time.

use std::time::Duration;

use crate::support::deadline::Stopwatch;
use crate::support::leftovers::Leftovers;

/// Resident memory of a process, in bytes.
///
/// # Panics
/// When there is no such process.
pub fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|size| size.parse::<u64>().ok()).expect("a number") * 1024
}

/// Open descriptors of a process.
///
/// # Panics
/// When there is no such process.
pub fn descriptors(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).expect("the process runs").count()
}

/// Samples of one process.
#[derive(Debug)]
pub struct VitalSigns {
    id: u32,
    watch: Stopwatch,
    /// Seconds and bytes.
    memory: Vec<(f64, f64)>,
    most_descriptors: usize,
    pub base: Base,
}

/// A process at rest.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    pub resident: u64,
    pub descriptors: usize,
    pub leftovers: Leftovers,
}

impl Base {
    pub fn of(id: u32) -> Self {
        Self { resident: resident(id), descriptors: descriptors(id), leftovers: Leftovers::of_process(id) }
    }
}

impl VitalSigns {
    /// `base`: at rest, after what is made once has been made.
    pub fn since(id: u32, base: Base) -> Self {
        Self { id, watch: Stopwatch::start(), memory: Vec::new(), most_descriptors: 0, base }
    }

    #[allow(clippy::cast_precision_loss, reason = "bytes of a process are below 2^52")]
    pub fn sample(&mut self) {
        self.memory.push((self.watch.elapsed().as_secs_f64(), resident(self.id) as f64));
        self.most_descriptors = self.most_descriptors.max(descriptors(self.id));
    }

    /// Twenty of the samples, in MiB.
    pub fn curve(&self) -> String {
        let step = self.memory.len().div_ceil(20).max(1);
        let values = self.memory.iter().step_by(step).map(|(_, bytes)| format!("{:.2}", bytes / 1_048_576.0));
        values.collect::<Vec<_>>().join(" ")
    }

    pub fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    pub fn most_memory(&self) -> f64 {
        self.memory.iter().map(|(_, bytes)| *bytes).fold(0.0, f64::max)
    }

    pub fn most_descriptors(&self) -> usize {
        self.most_descriptors
    }

    /// Bytes per second of the straight line through the samples after `from` (least squares), and the standard
    /// deviation of what it leaves.
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    pub fn slope(&self, from: Duration) -> (f64, f64) {
        let points: Vec<(f64, f64)> =
            self.memory.iter().copied().filter(|(at, _)| *at >= from.as_secs_f64()).collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_at, mean_bytes) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
        let shared: f64 = points.iter().map(|(at, bytes)| (at - mean_at) * (bytes - mean_bytes)).sum();
        let slope = shared / spread;
        let left = points.iter().map(|(at, bytes)| (bytes - mean_bytes - slope * (at - mean_at)).powi(2));
        (slope, (left.sum::<f64>() / count).sqrt())
    }
}

#[test]
fn a_slope_is_that_of_the_line_and_what_it_leaves_is_the_noise() {
    let base = Base::of(std::process::id());
    let mut signs = VitalSigns::since(std::process::id(), base);
    signs.memory = (0..100).map(|at| (f64::from(at), 5.0 * f64::from(at) + f64::from(at % 2))).collect();
    // What comes first does not count.
    signs.memory.insert(0, (-1.0, 1e9));
    let (slope, noise) = signs.slope(Duration::ZERO);
    assert!((slope - 5.0).abs() < 0.01 && (noise - 0.5).abs() < 0.01, "{slope} {noise}");
}
