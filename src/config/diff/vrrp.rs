//! What is different in `[[vrrp_instance]]` and the tables beside it.
use super::super::model::vrrp::{
    Command, Garp, Notify, Track, TrackFile, Tracks, Vmac, Vrrp, VrrpInstance, VrrpScript, VrrpSyncGroup,
};
use super::{Effect, Table};

impl Table<'_> {
    pub(super) fn vrrp(&mut self, before: &Vrrp, after: &Vrrp) {
        let Vrrp { instances, sync_groups, scripts, track_files } = before;
        self.each(
            "vrrp_instance",
            (instances, &after.instances),
            |instance| instance.name.clone(),
            |instance| instance.name.clone(),
            |table, before, after| table.instance(before, after),
        );
        self.each(
            "vrrp_sync_group",
            (sync_groups, &after.sync_groups),
            |group| group.name.clone(),
            |group| group.name.clone(),
            |table, before, after| {
                let VrrpSyncGroup { name: _, instances, notify } = before;
                table.key("instances", instances, &after.instances);
                table.notify(notify, &after.notify);
            },
        );
        self.each(
            "vrrp_script",
            (scripts, &after.scripts),
            |script| script.name.clone(),
            |script| script.name.clone(),
            |table, before, after| table.script(before, after),
        );
        self.each(
            "track_file",
            (track_files, &after.track_files),
            |file| file.name.clone(),
            |file| file.name.clone(),
            |table, before, after| {
                let TrackFile { name: _, file, weight, init_file } = before;
                table.key("file", file, &after.file);
                table.key("weight", weight, &after.weight);
                table.key_with(Effect::NextStart, "init_file", init_file, &after.init_file);
            },
        );
    }

    fn instance(&mut self, before: &VrrpInstance, after: &VrrpInstance) {
        let VrrpInstance {
            name: _,
            interface,
            state,
            virtual_router_id,
            priority,
            advert_interval,
            version,
            virtual_addresses,
            virtual_addresses_excluded,
            source_address,
            unicast_peers,
            unicast_ttl_check,
            checksum,
            authentication,
            vmac,
            preempt,
            preempt_delay,
            garp,
            tracks,
            notify,
        } = before;
        self.key_with(Effect::Restart, "interface", interface, &after.interface);
        self.key_with(Effect::NextStart, "state", state, &after.state);
        self.key_with(Effect::Restart, "virtual_router_id", virtual_router_id, &after.virtual_router_id);
        self.key("priority", priority, &after.priority);
        self.key("advert_interval", advert_interval, &after.advert_interval);
        self.key_with(Effect::Restart, "version", version, &after.version);
        // Another family is another virtual router.
        let effect = if before.family() == after.family() { Effect::Now } else { Effect::Restart };
        self.key_with(effect, "virtual_addresses", virtual_addresses, &after.virtual_addresses);
        self.key("virtual_addresses_excluded", virtual_addresses_excluded, &after.virtual_addresses_excluded);
        self.key("source_address", source_address, &after.source_address);
        self.key("unicast_peers", unicast_peers, &after.unicast_peers);
        self.key("unicast_ttl_check", unicast_ttl_check, &after.unicast_ttl_check);
        self.key("checksum", checksum, &after.checksum);
        // Passwords are in no log.
        self.other("authentication", authentication, &after.authentication);
        self.key_with(Effect::Restart, "use_vmac", &vmac.is_some(), &after.vmac.is_some());
        if let (Some(Vmac { interface, xmit_base }), Some(after)) = (vmac, &after.vmac) {
            self.key_with(Effect::Restart, "vmac_interface", interface, &after.interface);
            self.key_with(Effect::Restart, "vmac_xmit_base", xmit_base, &after.xmit_base);
        }
        self.key("preempt", preempt, &after.preempt);
        self.key("preempt_delay", preempt_delay, &after.preempt_delay);
        self.garp(garp, &after.garp);
        let Tracks { interfaces, scripts, files, virtual_servers } = tracks;
        self.key("track_interfaces", interfaces, &after.tracks.interfaces);
        self.key("track_scripts", scripts, &after.tracks.scripts);
        self.key("track_files", files, &after.tracks.files);
        self.key("track_virtual_servers", virtual_servers, &after.tracks.virtual_servers);
        self.notify(notify, &after.notify);
    }

    fn garp(&mut self, before: &Garp, after: &Garp) {
        let Garp {
            master_delay,
            master_repeat,
            master_refresh,
            master_refresh_repeat,
            lower_prio_delay,
            lower_prio_repeat,
        } = before;
        self.key("garp_master_delay", master_delay, &after.master_delay);
        self.key("garp_master_repeat", master_repeat, &after.master_repeat);
        self.key("garp_master_refresh", master_refresh, &after.master_refresh);
        self.key("garp_master_refresh_repeat", master_refresh_repeat, &after.master_refresh_repeat);
        self.key("garp_lower_prio_delay", lower_prio_delay, &after.lower_prio_delay);
        self.key("garp_lower_prio_repeat", lower_prio_repeat, &after.lower_prio_repeat);
    }

    fn notify(&mut self, before: &Notify, after: &Notify) {
        let Notify { master, backup, fault, stop, any } = before;
        for (key, before, after) in [
            ("notify_master", master, &after.master),
            ("notify_backup", backup, &after.backup),
            ("notify_fault", fault, &after.fault),
            ("notify_stop", stop, &after.stop),
            ("notify", any, &after.any),
        ] {
            self.command(key, before.as_ref(), after.as_ref());
        }
    }

    fn script(&mut self, before: &VrrpScript, after: &VrrpScript) {
        let VrrpScript { name: _, command, interval, timeout, rise, fall, weight, init_fail } = before;
        self.command("script", Some(command), Some(&after.command));
        self.key("interval", interval, &after.interval);
        self.key("timeout", timeout, &after.timeout);
        self.key("rise", rise, &after.rise);
        self.key("fall", fall, &after.fall);
        self.key("weight", weight, &after.weight);
        self.key_with(Effect::NextStart, "init_fail", init_fail, &after.init_fail);
    }

    fn command(&mut self, key: &str, before: Option<&Command>, after: Option<&Command>) {
        let program = |command: Option<&Command>| command.map(|command| command.program.clone());
        self.key(key, &program(before), &program(after));
        if let (Some(Command { program: _, arguments }), Some(after)) = (before, after)
            && *arguments != after.arguments
        {
            // There may be secrets among them.
            self.say(format!("{key} has other arguments"), Effect::Now);
        }
    }
}

impl super::shown::Shown for Track {
    fn shown(&self) -> String {
        match self.weight {
            0 => self.name.clone(),
            weight => format!("{}({weight:+})", self.name),
        }
    }
}
