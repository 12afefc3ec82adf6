//! RETR, STOR and listings: the order of 127, 150, 125 and 226, the data itself, and what breaks it off.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::control_connection::Interruption;
use super::directory::VirtualPath;
use super::listing::{facts_listing, long_listing, names_listing};
use super::session::Session;
use super::wording::{path_failure, transfer_failure};
use crate::cli::demo::content::{Sink, Source};
use crate::cli::demo::extended_block_mode::{self, Finished};
use crate::cli::demo::journal::Carried;
use crate::cli::demo::stream_mode;

/// What a transfer moves, and which way.
enum Cargo {
    Out(Source),
    In(Arc<Sink>),
}

impl Session {
    /// RETR, or STOR where `incoming`.
    pub(super) async fn transfer(&mut self, incoming: bool, path: VirtualPath) -> io::Result<()> {
        if !self.announce().await? {
            return Ok(());
        }
        let start = std::mem::take(&mut self.restart);
        let root = &self.server.root;
        let cargo = if incoming {
            // blocks of MODE E after a restart may come in any order, so only a whole file empties what was there
            root.write(&path, start == 0).map(|file| Cargo::In(Arc::new(Sink::File(file))))
        } else {
            root.read(&path).map(|file| Cargo::Out(Source::File(file)))
        };
        match cargo {
            Ok(cargo) => self.carry(cargo, start, &path.to_string()).await,
            Err(error) => {
                self.forget_stream();
                self.control.reply(&transfer_failure("open", &error)).await
            }
        }
    }

    /// LIST, NLST, MLSD.
    pub(super) async fn list(&mut self, verb: &str, path: &VirtualPath) -> io::Result<()> {
        if !self.announce().await? {
            return Ok(());
        }
        match self.server.root.entries(path) {
            Ok(entries) => {
                let listing = match verb {
                    "LIST" => long_listing(&entries),
                    "NLST" => names_listing(&entries),
                    _ => facts_listing(&entries, self.facts),
                };
                self.carry(Cargo::Out(Source::Memory(listing)), 0, &path.to_string()).await
            }
            Err(error) => {
                self.forget_stream();
                self.control.reply(&path_failure("stat", &error)).await
            }
        }
    }

    /// Says where to connect, if that was delayed; 127 comes before anything else, even for a missing file.
    async fn announce(&mut self) -> io::Result<bool> {
        match self.data.open_delayed() {
            Ok(None) => Ok(true),
            Ok(Some(reply)) => self.control.reply(&reply).await.map(|()| true),
            Err(error) => {
                self.control.reply(&transfer_failure("listen", &error)).await?;
                Ok(false)
            }
        }
    }

    async fn carry(&mut self, cargo: Cargo, start: u64, path: &str) -> io::Result<()> {
        let incoming = matches!(cargo, Cargo::In(_));
        let outcome = if self.extended_block {
            self.carry_blocks(cargo, start).await?
        } else {
            let outcome = self.carry_stream(cargo, start).await?;
            self.data.forget();
            outcome
        };
        match outcome {
            Outcome::Done(finished) => {
                let bytes: u64 = finished.carried.iter().map(|&(_, _, bytes)| bytes).sum();
                for (local, peer, bytes) in finished.carried {
                    let server = self.server.name.clone();
                    self.server.journal.add(Carried { server, path: path.to_owned(), local, peer, bytes });
                }
                self.data.keep(finished.kept);
                if incoming && self.extended_block {
                    self.control.reply(&format!("111 Range Marker {start}-{}", start + bytes)).await?;
                }
                self.control.reply("226 Transfer Complete.").await
            }
            Outcome::Failed(error) => {
                self.data.forget();
                self.control.reply(&transfer_failure("transfer", &error)).await
            }
            Outcome::Aborted => {
                self.data.forget();
                self.control.reply("426 Transfer aborted.\r\n226 Abort successful").await
            }
            Outcome::Gone => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// MODE S. 150 comes once the data connection is there.
    async fn carry_stream(&mut self, cargo: Cargo, start: u64) -> io::Result<Outcome> {
        let Self { control, data, ascii, .. } = self;
        let connected = tokio::select! {
            connected = data.connect(1) => connected,
            interruption = control.interruption() => return Ok(interruption.into()),
        };
        let mut stream = match connected.map(|mut connections| connections.pop()) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(Outcome::Failed(io::ErrorKind::NotConnected.into())),
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        control.reply("150 Beginning transfer.").await?;
        let moved = async {
            match cargo {
                // a listing is made of CR LF lines whatever the type is
                Cargo::Out(source @ Source::Memory(_)) => {
                    stream_mode::send(&mut stream, &source, start, false).await
                }
                Cargo::Out(source) => stream_mode::send(&mut stream, &source, start, *ascii).await,
                Cargo::In(sink) => stream_mode::receive(&mut stream, &sink, start, *ascii).await,
            }
        };
        Ok(tokio::select! {
            moved = moved => Outcome::of(moved.map(|bytes| finished_stream(local, peer, bytes))),
            interruption = control.interruption() => interruption.into(),
        })
    }

    /// MODE E. Kept connections serve again, and the reply says so.
    async fn carry_blocks(&mut self, cargo: Cargo, start: u64) -> io::Result<Outcome> {
        let Self { control, data, parallelism, .. } = self;
        let reused = data.has_kept();
        let kept = data.take_kept();
        let begin = if reused {
            "125 Beginning transfer; reusing existing data connection."
        } else {
            "150 Beginning transfer."
        };
        let fresh = match cargo {
            Cargo::In(_) if data.listener().is_some() => Ok(Vec::new()),
            _ if reused => Ok(Vec::new()),
            _ => tokio::select! {
                connected = data.connect(*parallelism) => connected,
                interruption = control.interruption() => return Ok(interruption.into()),
            },
        };
        let connections = match fresh {
            Ok(fresh) => kept.into_iter().chain(fresh).collect(),
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        control.reply(begin).await?;
        let moved = async {
            match cargo {
                Cargo::Out(source) => extended_block_mode::send(connections, source, start).await,
                Cargo::In(sink) => extended_block_mode::receive(data.listener(), connections, sink).await,
            }
        };
        Ok(tokio::select! {
            moved = moved => Outcome::of(moved),
            interruption = control.interruption() => interruption.into(),
        })
    }

    /// In MODE S a data connection belongs to one transfer, also to one that never began.
    fn forget_stream(&mut self) {
        if !self.extended_block {
            self.data.forget();
        }
    }
}

enum Outcome {
    Done(Finished),
    Failed(io::Error),
    /// ABOR
    Aborted,
    /// the control connection is gone
    Gone,
}

impl Outcome {
    fn of(moved: io::Result<Finished>) -> Self {
        moved.map_or_else(Self::Failed, Self::Done)
    }
}

impl From<Interruption> for Outcome {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Closed => Self::Gone,
            Interruption::Abort => Self::Aborted,
        }
    }
}

fn finished_stream(local: SocketAddr, peer: SocketAddr, bytes: u64) -> Finished {
    Finished { kept: Vec::new(), carried: vec![(local, peer, bytes)] }
}
