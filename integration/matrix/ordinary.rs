//! Command lines of the FTP clients that know nothing of grids. All log in as anonymous and name files below the login directory.

use super::command::{Commands, End, Places};
use super::row::{Client, Operation, Row, ServerSet};
use crate::support::other_servers::{PYTHON, script};

impl Commands<'_> {
    /// The whole command line of a row.
    pub(super) fn ordinary(&self, row: &Row, places: &Places) -> Vec<String> {
        match row.client {
            Client::Curl => self.curl(row, places),
            Client::Wget => self.wget(row, places),
            Client::Lftp => self.lftp(row, places),
            Client::Ftplib => self.ftplib(row, places),
            Client::Tnftp => self.tnftp(row, places),
            Client::Ncftp => self.ncftp(row, places),
            Client::GlobusUrlCopy | Client::GfalCopy | Client::GfalLs | Client::GfalSum | Client::GfalRm => {
                unreachable!("{} is of the Globus family", row.client)
            }
        }
    }

    fn curl(&self, row: &Row, places: &Places) -> Vec<String> {
        let what = match row.operation {
            Operation::Put | Operation::PutRest => [
                "-T".to_owned(),
                self.client_file(&places.source),
                self.relative_url(row, &places.destination),
            ]
            .to_vec(),
            Operation::List => {
                ["--list-only".to_owned(), self.relative_url(row, &places.source) + "/"].to_vec()
            }
            _ => [
                "-o".to_owned(),
                self.client_file(&places.destination),
                self.relative_url(row, &places.source),
            ]
            .to_vec(),
        };
        // -g: the brackets of an IPv6 address are no pattern.
        [texts(&["curl", "-sS", "-g", "--connect-timeout", "10"]), row.options.clone(), what].concat()
    }

    fn wget(&self, row: &Row, places: &Places) -> Vec<String> {
        let output = self.client_file(&places.destination);
        let source = self.relative_url(row, &places.source);
        let (to, from) =
            if row.operation == Operation::GetTree { ("-P", source + "/") } else { ("-O", source) };
        [texts(&["wget", "-nv", "-t", "1", "-T", "20", to, &output]), row.options.clone(), vec![from]]
            .concat()
    }

    /// Options with `=` are settings; the others are the command and its own options.
    fn lftp(&self, row: &Row, places: &Places) -> Vec<String> {
        let mut script = String::from("set net:timeout 10; set net:max-retries 1; set cmd:fail-exit on; ");
        let (settings, command): (Vec<&String>, Vec<&String>) =
            row.options.iter().partition(|option| option.contains('='));
        for setting in settings {
            script += &format!("set ftp:{}; ", setting.replace('=', " "));
        }
        let words: Vec<&str> = command.into_iter().map(String::as_str).collect();
        let command = |default: &str| if words.is_empty() { default.to_owned() } else { words.join(" ") };
        let Places { source, destination } = places;
        let (source_here, destination_here) = (self.client_file(source), self.client_file(destination));
        if row.operation.is_two_party() {
            script += &format!("open {}; ", self.relative_url(row, ""));
        }
        script += &match row.operation {
            Operation::Put | Operation::PutRest => {
                format!("{} {source_here} -o {destination}", command("put"))
            }
            Operation::GetTree => format!("{} {source} {destination_here}", command("mirror")),
            Operation::PutTree => format!("{} {source_here} {destination}", command("mirror -R")),
            Operation::ThirdParty | Operation::ThirdPartyFrom | Operation::ThirdPartyTo => {
                let from = self.relative_url(row, source);
                let to = self.url_at(row, self.second_end(row), row.servers.destination(), destination);
                format!("{} {from} -o {to}", command("get"))
            }
            Operation::Get | Operation::GetRest | Operation::List | Operation::Sum | Operation::Remove => {
                format!("{} {source} -o {destination_here}", command("get"))
            }
        };
        vec!["lftp".to_owned(), "-c".to_owned(), script]
    }

    fn ftplib(&self, row: &Row, places: &Places) -> Vec<String> {
        let (address, port) = self.host(row);
        let (operation, remote, local) = match row.operation {
            Operation::Put | Operation::PutRest => ("put", &places.destination, &places.source),
            Operation::List => ("list", &places.source, &places.source),
            _ => ("get", &places.source, &places.destination),
        };
        [
            texts(&[PYTHON, "-I", &script("ftplib_client.py")]),
            row.options.clone(),
            texts(&[operation, &address, &port, remote, &self.client_file(local)]),
        ]
        .concat()
    }

    fn tnftp(&self, row: &Row, places: &Places) -> Vec<String> {
        let what = match row.operation {
            Operation::Put => [
                "-u".to_owned(),
                self.relative_url(row, &places.destination),
                self.client_file(&places.source),
            ],
            _ => [
                "-o".to_owned(),
                self.client_file(&places.destination),
                self.relative_url(row, &places.source),
            ],
        };
        [texts(&["tnftp", "-V", "-q", "20"]), row.options.clone(), what.to_vec()].concat()
    }

    fn ncftp(&self, row: &Row, places: &Places) -> Vec<String> {
        let (address, port) = self.host(row);
        let Places { source, destination } = places;
        let (program, from, to) = match row.operation {
            Operation::Put | Operation::PutRest => ("ncftpput", &self.client_file(source), destination),
            _ => ("ncftpget", source, &self.client_file(destination)),
        };
        // -C: from this file to that, under another name.
        [
            texts(&[program, "-V", "-t", "20", "-r", "0", "-P", &port]),
            row.options.clone(),
            texts(&["-C", &address, from, to]),
        ]
        .concat()
    }

    /// A URL below the login directory, as RFC 1738 has it, at the row's first end.
    fn relative_url(&self, row: &Row, path: &str) -> String {
        self.url_at(row, self.first_end(row), row.servers, path)
    }

    fn url_at(&self, row: &Row, end: End, servers: ServerSet, path: &str) -> String {
        format!("ftp://{}/{path}", self.authority(row, end, servers))
    }

    /// Address and port of the row's first end, for clients that take no URL.
    fn host(&self, row: &Row) -> (String, String) {
        let (role, port) = Self::place(self.first_end(row), row.servers);
        (self.address(row, role).to_string(), port.to_string())
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
