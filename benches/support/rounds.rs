//! Interleaved rounds: every instance once a round, in turning order, so that what disturbs the machine meets all.

use std::time::{Duration, Instant};

use super::Outcome;

/// Two instances of the same program must agree this well before a difference between programs means anything.
pub(crate) const NOISE_LIMIT: f64 = 0.02;

/// When to stop.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) time: Duration,
}

/// What one instance gave in each round.
pub(crate) struct Samples {
    pub(crate) instance: String,
    /// Instances of one group are the same program with the same configuration.
    pub(crate) group: &'static str,
    pub(crate) values: Vec<f64>,
}

/// One quantity, measured over all instances.
pub(crate) struct Series {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<Samples>,
}

impl Series {
    pub(crate) fn new<'a>(
        title: &str,
        unit: &'static str,
        instances: impl IntoIterator<Item = (&'a str, &'static str)>,
    ) -> Self {
        let samples = instances.into_iter().map(|(instance, group)| Samples {
            instance: instance.to_owned(),
            group,
            values: Vec::new(),
        });
        Self { title: title.to_owned(), unit, samples: samples.collect() }
    }

    /// Measures in rounds until two of a kind agree, at least `least` and at most `most` times, or until the time is
    /// over. `measure` gets the instance's place in the series.
    pub(crate) fn run(
        mut self,
        bounds: Bounds,
        mut measure: impl FnMut(usize) -> Outcome<f64>,
    ) -> Outcome<Self> {
        let start = Instant::now();
        // The first turn warms caches, branch predictors and allocators; it does not count.
        for place in 0..self.samples.len() {
            measure(place)?;
        }
        for round in 0..bounds.most {
            if round >= bounds.least && (self.is_quiet() || start.elapsed() > bounds.time) {
                break;
            }
            for turn in 0..self.samples.len() {
                let place = (round + turn) % self.samples.len();
                let value = measure(place)?;
                self.samples[place].values.push(value);
            }
        }
        Ok(self)
    }

    /// The median over all rounds of all instances of a group.
    pub(crate) fn median(&self, group: &str) -> Option<f64> {
        median(self.of(group).flat_map(|samples| samples.values.iter().copied()).collect())
    }

    /// One group against another: the median over the rounds of the ratio within a round, in which both met the same
    /// disturbances. `less` is the group whose value is taken off both first.
    pub(crate) fn ratio(&self, over: &str, under: &str, less: Option<&str>) -> Option<f64> {
        let in_round = |group: &str, round: usize| {
            let values = self.of(group).map(|samples| samples.values.get(round).copied());
            median(values.collect::<Option<Vec<f64>>>()?)
        };
        let ratios = (0..self.rounds()).filter_map(|round| {
            let base = less.map_or(Some(0.0), |less| in_round(less, round))?;
            Some((in_round(over, round)? - base) / (in_round(under, round)? - base))
        });
        median(ratios.collect())
    }

    /// How far a group's two instances are apart, as a share: the same ratio, between them; `None` without two.
    pub(crate) fn noise(&self, group: &str) -> Option<f64> {
        let instances: Vec<&Samples> = self.of(group).collect();
        let [first, second] = instances[..] else { return None };
        let ratios = first.values.iter().zip(&second.values).map(|(first, second)| first / second);
        median(ratios.collect()).map(|ratio| (ratio - 1.0).abs())
    }

    /// The largest disagreement among all groups.
    pub(crate) fn largest_noise(&self) -> Option<f64> {
        self.samples.iter().filter_map(|samples| self.noise(samples.group)).reduce(f64::max)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.samples.iter().map(|samples| samples.values.len()).max().unwrap_or(0)
    }

    fn is_quiet(&self) -> bool {
        self.largest_noise().is_none_or(|noise| noise < NOISE_LIMIT)
    }

    fn of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Samples> {
        self.samples.iter().filter(move |samples| samples.group == group)
    }
}

/// The middle value; the mean of the two middle ones when their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
