//! What is different in what the kernel forwards.
use super::super::model::{DirectRouting, Engine, Forwarding, LvsSync, Persistence};
use super::shown::Shown;
use super::{Effect, Table};

impl Table<'_> {
    pub(super) fn forwarding(&mut self, before: Option<&Forwarding>, after: Option<&Forwarding>) {
        self.optional("forwarding", (before, after), |table, before, after| {
            let Forwarding { engine, interfaces, sync } = before;
            table.key_with(Effect::NextStart, "engine", engine, &after.engine);
            table.key("interfaces", interfaces, &after.interfaces);
            let keys = |sync: &Option<LvsSync>| {
                let LvsSync { instance, interface, id } = sync.clone()?;
                Some((instance, interface, id))
            };
            let (before, after) = (keys(sync), keys(&after.sync));
            let instance =
                |keys: &Option<(String, Option<String>, Option<u8>)>| keys.clone().map(|keys| keys.0);
            table.key("lvs_sync_daemon", &instance(&before), &instance(&after));
            if let (Some(before), Some(after)) = (before, after) {
                table.key("lvs_sync_interface", &before.1, &after.1);
                table.key("lvs_sync_id", &before.2.map(u16::from), &after.2.map(u16::from));
            }
        });
    }

    pub(super) fn direct_routing(&mut self, before: Option<&DirectRouting>, after: Option<&DirectRouting>) {
        let (Some(before), Some(after)) = (before, after) else {
            let word = |of: Option<&DirectRouting>| String::from(if of.is_some() { "dr" } else { "proxy" });
            return self.key("forwarding", &word(before), &word(after));
        };
        let DirectRouting { ports, persistence, fallback } = before;
        self.key("ports", ports, &after.ports);
        let timeout = |of: &Option<Persistence>| of.map(|of| of.timeout);
        self.key("persistence_timeout", &timeout(persistence), &timeout(&after.persistence));
        if let (Some(before), Some(after)) = (persistence, after.persistence) {
            let Persistence { timeout: _, prefix, prefix_ipv6 } = before;
            self.key("persistence_granularity", &u16::from(*prefix), &u16::from(after.prefix));
            self.key("persistence_granularity_ipv6", &u16::from(*prefix_ipv6), &u16::from(after.prefix_ipv6));
        }
        let word = |fallback: bool| String::from(if fallback { "proxy" } else { "none" });
        self.key("fallback", &word(*fallback), &word(after.fallback));
    }
}

impl Shown for Engine {
    fn shown(&self) -> String {
        self.word().into()
    }
}
