//! The table of what was transferred, who served it and where the data flowed.

use std::io::{self, Write};

use crate::proto::ftp::DataPath;

/// Where the bytes of a file went.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Flow {
    /// straight; `between` is the real server's end, or both servers
    Direct {
        /// as text
        between: String,
        /// how many data connections
        connections: usize,
    },
    /// somebody stood in between
    Indirect {
        /// whom the client spoke to
        through: String,
    },
    /// no data connection was seen
    Unknown,
}

impl Flow {
    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct { .. })
    }

    fn text(&self) -> String {
        match self {
            Self::Direct { between, connections: 1 } => format!("{between} direct"),
            Self::Direct { between, connections } => format!("{between} ×{connections} direct"),
            Self::Indirect { through } => format!("through the door, {through}"),
            Self::Unknown => "-".to_owned(),
        }
    }
}

/// One transfer.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) transfer: &'static str,
    /// the client whose commands are spoken
    pub(super) like: &'static str,
    pub(super) command: &'static str,
    /// where its data are to flow
    pub(super) path: DataPath,
    /// by the name in the greeting
    pub(super) server: String,
    pub(super) flow: Flow,
    /// of the file
    pub(super) bytes: u64,
    /// of control connections, and of the file where it did not go straight
    pub(super) through_door: u64,
    /// what arrived is what was sent
    pub(super) identical: bool,
    /// why there is no file to compare
    pub(super) failure: Option<String>,
}

impl Row {
    /// Whether the file arrived whole, on the path that is best for its client.
    pub(super) fn is_sound(&self) -> bool {
        self.identical && self.flow.is_direct() == (self.path == DataPath::Direct)
    }
}

/// Widths of the columns, in characters; the data column holds two addresses.
const WIDTHS: [usize; 8] = [11, 21, 20, 16, 36, 8, 8, 9];

/// Writes the head of the table.
pub(super) fn write_head(out: &mut impl Write) -> io::Result<()> {
    let upper = ["", "client", "", "", "", "", "through", ""];
    let lower = [
        "transfer",
        "behaves like",
        "command",
        "who served",
        "where the data flowed",
        "bytes",
        "the door",
        "identical",
    ];
    write_line(out, &upper)?;
    write_line(out, &lower)?;
    write_line(out, &WIDTHS.map(|width| "─".repeat(width)))
}

/// Writes one row; a failure goes on a line of its own.
pub(super) fn write_row(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let identical = match (&row.failure, row.identical) {
        (Some(_), _) => "failed",
        (None, true) => "yes",
        (None, false) => "NO",
    };
    let cells = [
        row.transfer.to_owned(),
        row.like.to_owned(),
        row.command.to_owned(),
        row.server.clone(),
        row.flow.text(),
        row.bytes.to_string(),
        row.through_door.to_string(),
        identical.to_owned(),
    ];
    write_line(out, &cells)?;
    row.failure.as_ref().map_or(Ok(()), |failure| writeln!(out, "    {failure}"))
}

fn write_line<T: AsRef<str>>(out: &mut impl Write, cells: &[T; 8]) -> io::Result<()> {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        let (cell, number) = (cell.as_ref(), matches!(column, 5 | 6));
        line += &if number { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_failures_are_told() {
        let mut row = Row {
            transfer: "get",
            like: "globus-url-copy",
            command: "PASV, RETR",
            path: DataPath::Direct,
            server: "demo-s1".to_owned(),
            flow: Flow::Direct { between: "127.0.0.11:40001".to_owned(), connections: 4 },
            bytes: 4_194_304,
            through_door: 512,
            identical: true,
            failure: None,
        };
        let mut out = Vec::new();
        write_head(&mut out).unwrap();
        write_row(&mut out, &row).unwrap();
        row.failure = Some("RETR: no reply".to_owned());
        write_row(&mut out, &row).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].contains("127.0.0.11:40001 ×4 direct"), "{text}");
        let column = |line: &str, word| line.find(word).map(|at| line[..at].chars().count());
        assert_eq!(column(lines[3], "yes"), column(lines[1], "identical"));
        assert!(lines[4].ends_with("failed"));
        assert_eq!(lines[5], "    RETR: no reply");
    }
}
