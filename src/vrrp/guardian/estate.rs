//! What a daemon leaves behind.
use std::collections::BTreeMap;
use std::io;

use ipnet::IpNet;

use super::words::{LastWords, Word};
use crate::proto::netlink::address::Assignment;
use crate::sys::netlink::Route;
use crate::sys::vrrp_socket::Sender;
use crate::vrrp::parent_setting::ParentSetting;

/// Everything that was said and not taken back.
pub(super) struct Estate {
    route: Route,
    addresses: BTreeMap<(u32, IpNet), Assignment>,
    last_words: BTreeMap<u32, Vec<LastWords>>,
    settings: Vec<ParentSetting>,
}

impl Estate {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            route: Route::open()?,
            addresses: BTreeMap::new(),
            last_words: BTreeMap::new(),
            settings: Vec::new(),
        })
    }

    pub(super) fn hear(&mut self, word: Word) {
        match word {
            Word::Own(index, address) => {
                let assignment = Assignment {
                    index,
                    address: address.addr(),
                    prefix: address.prefix_len(),
                    lifetime: None,
                    label: None,
                };
                self.addresses.insert((index, address), assignment);
            }
            Word::Disown(index, address) => drop(self.addresses.remove(&(index, address))),
            Word::Say(router, words) => self.last_words.entry(router).or_default().push(words),
            Word::Hush(router) => drop(self.last_words.remove(&router)),
            Word::Set(setting) => {
                let place = |of: &ParentSetting| (of.parent, of.setting);
                self.settings.retain(|known| place(known) != place(&setting));
                self.settings.push(setting);
            }
            Word::Unset(parent) => self.settings.retain(|of| of.parent != parent),
            Word::Forget => {
                self.settings.clear();
                self.addresses.clear();
                self.last_words.clear();
            }
        }
    }

    /// The addresses first: a backup that hears of the end must find them free. Returns what went wrong.
    pub(super) fn wind_up(mut self) -> Vec<String> {
        let mut problems = Vec::new();
        let addresses: Vec<Assignment> = self.addresses.into_values().collect();
        match self.route.remove_addresses(&addresses) {
            Ok(refused) => problems.extend(refused.into_iter().map(|refused| {
                let address = addresses.get(refused.position).map_or("-".into(), |of| of.address.to_string());
                format!("{address}: {}", refused.error)
            })),
            Err(error) => problems.push(error.to_string()),
        }
        for words in self.last_words.into_values().flatten() {
            let said = Sender::open(words.interface, words.source).and_then(|sender| {
                words.packets.iter().try_for_each(|(to, payload)| sender.send(*to, payload))
            });
            if let Err(error) = said {
                problems.push(format!("last words of {}: {error}", words.source));
            }
        }
        // Now that nobody may be answered for those addresses.
        problems.extend(self.settings.iter().filter_map(|of| of.put_back(&mut self.route).err()));
        problems
    }
}
