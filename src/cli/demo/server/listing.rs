//! Listings as bytes: LIST, NLST, MLSD and MLST (RFC 959, RFC 3659 §7).

use std::io::Write as _;

use rustix::fs::{FileType, Stat};

use super::directory::Entry;

/// The facts of MLST and MLSD, in the order they are written (RFC 3659 §7.5).
pub(super) const FACTS: [&str; 6] = ["Type", "Modify", "Size", "Perm", "UNIX.mode", "Unique"];

/// Which of [`FACTS`] a session wants (`OPTS MLST`); all until it says otherwise.
#[derive(Clone, Copy)]
pub(super) struct Facts([bool; FACTS.len()]);

impl Default for Facts {
    fn default() -> Self {
        Self([true; FACTS.len()])
    }
}

impl Facts {
    /// Reads `Type;Size;`; unknown facts are left out (RFC 3659 §7.9).
    pub(super) fn parse(list: &str) -> Self {
        Self(FACTS.map(|fact| list.split(';').any(|wanted| wanted.trim().eq_ignore_ascii_case(fact))))
    }

    /// `Type=file;Modify=…; name`, without a line end.
    pub(super) fn line(&self, stat: &Stat, name: &[u8]) -> Vec<u8> {
        let directory = is_directory(stat);
        let values = [
            if directory { "dir".to_owned() } else { "file".to_owned() },
            time_value(stat.st_mtime),
            stat.st_size.to_string(),
            if directory { "cfmpel".to_owned() } else { "awr".to_owned() },
            format!("{:04o}", stat.st_mode & 0o7777),
            format!("{:x}-{:x}", stat.st_dev, stat.st_ino),
        ];
        let mut line = Vec::new();
        for ((fact, value), wanted) in FACTS.iter().zip(values).zip(self.0) {
            if wanted {
                line.extend_from_slice(format!("{fact}={value};").as_bytes());
            }
        }
        line.push(b' ');
        line.extend_from_slice(name);
        line
    }
}

/// The answer to MLSD.
pub(super) fn facts_listing(entries: &[Entry], facts: Facts) -> Vec<u8> {
    joined(entries, |entry| facts.line(&entry.stat, &entry.name))
}

/// The answer to NLST.
pub(super) fn names_listing(entries: &[Entry]) -> Vec<u8> {
    joined(entries, |entry| entry.name.clone())
}

/// The answer to LIST, as `ls -l` writes it; with the year, for it must not depend on today's date.
pub(super) fn long_listing(entries: &[Entry]) -> Vec<u8> {
    joined(entries, |entry| {
        let stat = &entry.stat;
        let mut line = if is_directory(stat) { b"d".to_vec() } else { b"-".to_vec() };
        for (bit, letter) in (0..9).rev().zip(b"rwx".iter().cycle()) {
            line.push(if stat.st_mode >> bit & 1 == 1 { *letter } else { b'-' });
        }
        let [year, month, day, ..] = civil(stat.st_mtime);
        let month = usize::try_from(month - 1).ok().and_then(|index| MONTHS.get(index)).unwrap_or(&"Jan");
        let (links, size) = (stat.st_nlink, stat.st_size);
        // writing to a Vec cannot fail
        let _ = write!(line, " {links:>3} {:>8} {:>8} {size:>12} {month} {day:2}  {year} ", "demo", "demo");
        line.extend_from_slice(&entry.name);
        line
    })
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `YYYYMMDDHHMMSS` in UTC (RFC 3659 §2.3), of seconds since 1970.
pub(super) fn time_value(seconds: i64) -> String {
    let [year, month, day, hour, minute, second] = civil(seconds);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Year, month, day, hour, minute, second of the proleptic Gregorian calendar, in UTC.
fn civil(seconds: i64) -> [i64; 6] {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // counted from 1 March of year 0, so that the leap day is the last of its year; eras of 400 years
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    [year, month, day, rest / 3600, rest / 60 % 60, rest % 60]
}

fn joined(entries: &[Entry], line: impl Fn(&Entry) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&line(entry));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_table() {
        let table = [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (1_709_251_199, "20240229235959"),
            (1_795_330_833, "20261122070033"),
            (4_107_542_400, "21000301000000"),
        ];
        for (seconds, expected) in table {
            assert_eq!(time_value(seconds), expected);
        }
    }

    #[test]
    fn chosen_facts_are_written_and_no_others() {
        let stat = rustix::fs::stat("/").unwrap();
        let line = Facts::parse("type;Bogus;size").line(&stat, b"name");
        assert_eq!(line, format!("Type=dir;Size={}; name", stat.st_size).as_bytes());
    }
}
