//! How long something takes, as a distribution.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper ends of the classes, in microseconds. Above the last there is one class more.
pub type Bounds = &'static [u64];

/// Durations counted in classes, whose numbers only ever rise. To count one costs two additions.
#[derive(Debug)]
pub struct Durations {
    bounds: Bounds,
    /// One more than there are bounds.
    cells: Box<[Cell]>,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    micros: AtomicU64,
}

/// The durations of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// How many.
    pub count: u64,
    /// What they have in the mean, in seconds; inside the class.
    pub mean: f64,
}

impl Durations {
    /// For what clients and servers do: from a greeting on the same network to the longest wait that a configuration is
    /// likely to allow.
    pub const OF_SESSIONS: Bounds = &[
        5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000, 30_000_000,
    ];

    /// For a thread that is to wake in time: from what a kernel needs for it to a whole second of a busy machine.
    pub const OF_WAKES: Bounds =
        &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

    /// None yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, cells: bounds.iter().map(|_| Cell::default()).chain([Cell::default()]).collect() }
    }

    /// Counts one; a duration at a bound is below it.
    pub fn count(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let cell = &self.cells[self.bounds.partition_point(|&bound| bound < micros)];
        cell.micros.fetch_add(micros, Relaxed);
        cell.count.fetch_add(1, Relaxed);
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.cells.iter().map(|cell| cell.micros.load(Relaxed)).sum())
    }

    /// What they have in the mean; none without any.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let count: u64 = self.cells.iter().map(|cell| cell.count.load(Relaxed)).sum();
        let micros = u64::try_from(self.total().as_micros()).unwrap_or(u64::MAX);
        micros.checked_div(count).map(Duration::from_micros)
    }

    /// The classes that are not empty.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        self.cells.iter().enumerate().filter_map(|(at, cell)| {
            let count = cell.count.load(Relaxed);
            let micros = cell.micros.load(Relaxed);
            if count == 0 {
                return None;
            }
            // Somebody may be between the two additions.
            let low = at.checked_sub(1).map_or(0, |below| self.bounds[below] + 1);
            let high = self.bounds.get(at).copied().unwrap_or(u64::MAX);
            // Not a whole number: times the count it is to be the sum again, which must not fall.
            let mean = (float(micros) / float(count)).clamp(float(low), float(high));
            Some(Class { count, mean: mean / 1e6 })
        })
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::new(Self::OF_SESSIONS)
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_class_whose_bounds_hold_it() {
        let of_all = [Durations::OF_SESSIONS, Durations::OF_WAKES];
        for (bounds, &bound) in
            of_all.into_iter().flat_map(|bounds| bounds.iter().map(move |of| (bounds, of)))
        {
            let (durations, bound) = (Durations::new(bounds), Duration::from_micros(bound));
            durations.count(bound);
            durations.count(bound + Duration::from_micros(1));
            let classes: Vec<Class> = durations.classes().collect();
            assert_eq!(classes.iter().map(|class| class.count).collect::<Vec<_>>(), [1, 1], "{bound:?}");
            assert!((classes[0].mean - bound.as_secs_f64()).abs() < 1e-9, "{classes:?}");
        }
    }

    #[test]
    fn the_mean_of_a_class_times_its_count_is_what_was_counted() {
        let durations = Durations::default();
        for millis in [1, 2, 3, 60, 80, 3_600_000] {
            durations.count(Duration::from_millis(millis));
        }
        let of_classes: f64 = durations.classes().map(|class| class.mean * float(class.count)).sum();
        assert!((of_classes - 3600.146).abs() < 1e-6, "{of_classes}");
        assert_eq!(durations.total(), Duration::from_millis(3_600_146));
        assert_eq!(durations.mean(), Some(Duration::from_micros(600_024_333)));
        assert_eq!(Durations::default().mean(), None);
    }
}
