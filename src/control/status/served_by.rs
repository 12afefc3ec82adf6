//! Who serves a virtual server, in the status.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::proxy::{ServedBy, Service};

/// Who should serve its clients, and who does.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServedByStatus {
    /// `proxy` or `dr`, as configured.
    #[serde(default = "proxy")]
    pub forwarding: String,
    /// `door`, `kernel`, `door_instead` or `nobody`.
    #[serde(default = "door")]
    pub served_by: String,
    /// Why the kernel does not, where it should.
    #[serde(default)]
    pub why_not_kernel: Option<String>,
}

fn proxy() -> String {
    "proxy".into()
}

fn door() -> String {
    ServedBy::Door.word().into()
}

impl ServedByStatus {
    pub(super) fn of(service: &Service) -> Self {
        Self {
            forwarding: if service.served_by == ServedBy::Door { proxy() } else { "dr".into() },
            served_by: service.served_by.word().into(),
            why_not_kernel: service.why_not_kernel.as_deref().map(Into::into),
        }
    }

    pub(super) fn is_remarkable(&self) -> bool {
        self.forwarding != proxy()
    }
}

impl fmt::Display for ServedByStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forwarding {}, served by ", self.forwarding)?;
        match self.served_by.as_str() {
            "kernel" => write!(f, "the kernel")?,
            "door_instead" => write!(f, "the door instead")?,
            "nobody" => write!(f, "nobody")?,
            _ => write!(f, "the door")?,
        }
        self.why_not_kernel.iter().try_for_each(|why| write!(f, ": {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_serves_and_why_not_the_kernel() {
        for (served_by, why, expected) in [
            ("kernel", None, "forwarding dr, served by the kernel"),
            (
                "door_instead",
                Some("no engine runs"),
                "forwarding dr, served by the door instead: no engine runs",
            ),
            ("nobody", Some("no engine runs"), "forwarding dr, served by nobody: no engine runs"),
        ] {
            let status = ServedByStatus {
                forwarding: "dr".into(),
                served_by: served_by.into(),
                why_not_kernel: why.map(Into::into),
            };
            assert!(status.is_remarkable());
            assert_eq!(status.to_string(), expected);
        }
    }

    #[test]
    fn the_status_of_an_older_daemon_is_that_of_the_door() {
        let status: ServedByStatus = serde_json::from_str("{}").unwrap();
        assert_eq!(status.served_by, "door");
        assert!(!status.is_remarkable());
    }
}
