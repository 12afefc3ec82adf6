//! What an instance's priority is made of: its own, and the weights of what it tracks, as keepalived adds them.

use super::Priority;

/// Largest weight, either way.
pub const MAX_WEIGHT: i32 = 254;

/// How a tracked item is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    /// Not known yet: it neither adds nor takes away, and is no fault.
    #[default]
    Unknown,
    /// An interface has carrier, a script has ended well, a virtual server has its quorum.
    Up,
    /// They have not.
    Down,
    /// What a tracked file says; 0 is well.
    Value(i32),
}

/// Something that an instance tracks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrackedItem {
    /// What status and log call it.
    pub name: String,
    /// 0: a fault while it is down. Positive: added while it is up. Negative: taken away while it is down. Multiplied with a
    /// file's value. Within [`MAX_WEIGHT`] either way.
    pub weight: i32,
    /// Whether all of that is the other way round.
    pub reverse: bool,
    /// How it is.
    pub condition: Condition,
}

/// What comes of one item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    Fault,
    Adds(i32),
}

impl TrackedItem {
    fn effect(&self) -> Effect {
        let sign = if self.reverse { -1 } else { 1 };
        let faulty = |is_down: bool| if is_down == self.reverse { Effect::Adds(0) } else { Effect::Fault };
        match self.condition {
            Condition::Unknown => Effect::Adds(0),
            Condition::Value(value) if self.weight == 0 => faulty(value != 0),
            Condition::Value(value) => {
                let product = value.saturating_mul(self.weight).saturating_mul(sign);
                let adds = product.clamp(-MAX_WEIGHT, MAX_WEIGHT);
                // keepalived.conf(5): so much less is a fault.
                if adds == -MAX_WEIGHT { Effect::Fault } else { Effect::Adds(adds) }
            }
            Condition::Up | Condition::Down if self.weight == 0 => faulty(self.condition == Condition::Down),
            Condition::Up => Effect::Adds(sign * self.weight.max(0)),
            Condition::Down => Effect::Adds(sign * self.weight.min(0)),
        }
    }
}

/// What an instance tracks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tracking {
    base: Priority,
    items: Vec<TrackedItem>,
}

/// What comes of all items together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The priority in effect: 1 to 254, and 255 for an owner, whatever it tracks.
    pub priority: Priority,
    /// The first item, by the order of the configuration, that keeps the instance in fault.
    pub fault: Option<String>,
}

impl Tracking {
    /// The configured priority, and what may change it.
    #[must_use]
    pub fn new(base: Priority, items: Vec<TrackedItem>) -> Self {
        Self { base, items }
    }

    /// An item is otherwise than it was. False if there is none of that name, or it was so already.
    pub fn set(&mut self, name: &str, condition: Condition) -> bool {
        let mut changes = false;
        for item in self.items.iter_mut().filter(|item| item.name == name) {
            changes |= item.condition != condition;
            item.condition = condition;
        }
        changes
    }

    /// All of them, for status.
    #[must_use]
    pub fn items(&self) -> &[TrackedItem] {
        &self.items
    }

    /// Whether every item is known: an instance that starts before would change its mind at once.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.items.iter().all(|item| item.condition != Condition::Unknown)
    }

    /// What comes of them.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut sum = i64::from(self.base.get());
        let mut fault = None;
        for item in &self.items {
            match item.effect() {
                Effect::Fault => fault = fault.or_else(|| Some(item.name.clone())),
                Effect::Adds(weight) => sum += i64::from(weight),
            }
        }
        let within = sum.clamp(Priority::LOWEST.get().into(), Priority::HIGHEST.get().into());
        let priority = match self.base {
            Priority::OWNER => Priority::OWNER,
            _ => u8::try_from(within).map_or(Priority::LOWEST, Priority),
        };
        Standing { priority, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{Down, Unknown, Up, Value};

    fn standing(base: u8, items: &[(i32, bool, Condition)]) -> (u8, Option<String>) {
        let item = |(number, (weight, reverse, condition)): (usize, &(i32, bool, Condition))| TrackedItem {
            name: format!("item {number}"),
            weight: *weight,
            reverse: *reverse,
            condition: *condition,
        };
        let items = items.iter().enumerate().map(item).collect();
        let Standing { priority, fault } = Tracking::new(Priority(base), items).standing();
        (priority.get(), fault)
    }

    /// What one item makes of a priority of 100; 0 for a fault.
    #[test]
    fn the_weights_of_keepalived_hold_row_by_row() {
        let rows = [
            // weight, reverse: unknown, up, down, a file with 0, 3 and -3
            (0, false, [100, 100, 0, 100, 0, 0]),
            (0, true, [100, 0, 100, 0, 100, 100]),
            (20, false, [100, 120, 100, 100, 160, 40]),
            (20, true, [100, 80, 100, 100, 40, 160]),
            (-20, false, [100, 100, 80, 100, 40, 160]),
            (-20, true, [100, 100, 120, 100, 160, 40]),
            (200, false, [100, 254, 100, 100, 254, 0]),
            (-200, false, [100, 100, 1, 100, 0, 254]),
        ];
        for (weight, reverse, expected) in rows {
            for (condition, expected) in
                [Unknown, Up, Down, Value(0), Value(3), Value(-3)].into_iter().zip(expected)
            {
                let (priority, fault) = standing(100, &[(weight, reverse, condition)]);
                let found = if fault.is_some() { 0 } else { priority };
                assert_eq!(found, expected, "weight {weight} reverse {reverse} {condition:?}");
            }
        }
    }

    #[test]
    fn weights_are_added_before_the_sum_is_limited() {
        assert_eq!(standing(200, &[(100, false, Up), (-100, false, Down)]), (200, None));
        assert_eq!(standing(10, &[(-100, false, Down), (-100, false, Down)]), (1, None));
        assert_eq!(standing(1, &[(i32::MAX, false, Value(i32::MAX))]), (254, None));
        let faults = [(5, false, Up), (0, false, Down), (0, false, Down)];
        assert_eq!(standing(100, &faults), (105, Some("item 1".into())));
    }

    #[test]
    fn an_owner_keeps_its_priority_and_has_faults() {
        assert_eq!(standing(255, &[(-100, false, Down)]), (255, None));
        assert_eq!(standing(255, &[(0, false, Down)]), (255, Some("item 0".into())));
    }

    #[test]
    fn only_a_change_is_one() {
        let item = TrackedItem { name: "eth0".into(), weight: 0, reverse: false, condition: Unknown };
        let mut tracking = Tracking::new(Priority(100), vec![item]);
        assert!(!tracking.is_known());
        assert!(tracking.set("eth0", Up) && !tracking.set("eth0", Up) && !tracking.set("eth1", Up));
        assert!(tracking.is_known());
    }
}
