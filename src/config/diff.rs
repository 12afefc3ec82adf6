//! What is different in another configuration, as an operator reads it: `virtual_server gridftp: max_sessions 100 → 200`.
//!
//! Identity is what the rest of the program takes for it: a virtual server's name, and within it a real server's name,
//! address and port. Every struct of the model is taken apart in full, so that a new key cannot be forgotten here.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method is not general enough in the lifetime of its table"
)]
mod forwarding;
mod shown;
mod vrrp;

use std::fmt;

use self::shown::Shown;
use super::model::{
    Account, Admittance, Availability, BackendLogin, Check, CheckKind, Global, Gsi, GsiCheck, Model,
    QueueLimits, RealServer, SampleFile, Script, ServerTls, Tls, VirtualServer,
};
use super::naming::NamedServer;
use crate::balance::{ClientLimits, EjectionPolicy, IdentityRules, Quorum};

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which table it is in: `virtual_server gridftp: real_server s1: tls: `, or nothing for the file.
    place: String,
    what: String,
    /// Whether a daemon that runs can take it.
    pub effect: Effect,
}

/// What a running daemon makes of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It is in force with the reload.
    Now,
    /// It is in force with the reload, for which the instance of VRRP gives up its addresses and begins anew.
    Restart,
    /// It is accepted, and in force when the daemon is started the next time.
    NextStart,
    /// Whoever reads the file afterwards would be misled about the daemon that runs: the reload is refused.
    Refused,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place, self.what)?;
        match self.effect {
            Effect::Now => Ok(()),
            Effect::Restart => f.write_str("; the instance begins anew"),
            Effect::NextStart => f.write_str("; takes effect at the next start"),
            Effect::Refused => {
                f.write_str("; cannot change while the daemon runs: restart it, or take this back")
            }
        }
    }
}

/// What is different in `after`, in its order; what is there no more comes last. Empty only when nothing is different.
#[must_use]
pub fn diff(before: &Model, after: &Model) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut file = Table { place: String::new(), changes: &mut changes };
    let Model { global, virtual_servers, vrrp, forwarding } = before;
    file.inner("global").global(global, &after.global);
    file.each(
        "virtual_server",
        (virtual_servers, &after.virtual_servers),
        |server| server.name.clone(),
        |server| server.name.clone(),
        |table, before, after| table.virtual_server(before, after),
    );
    file.vrrp(vrrp, &after.vrrp);
    file.forwarding(forwarding.as_ref(), after.forwarding.as_ref());
    changes
}

/// A table of the file, and where its differences go.
struct Table<'c> {
    /// With `: ` behind it.
    place: String,
    changes: &'c mut Vec<Change>,
}

impl Table<'_> {
    fn say(&mut self, what: String, effect: Effect) {
        self.changes.push(Change { place: self.place.clone(), what, effect });
    }

    /// A key that takes effect with the reload.
    fn key<T: PartialEq + Shown + ?Sized>(&mut self, key: &str, before: &T, after: &T) {
        self.key_with(Effect::Now, key, before, after);
    }

    fn key_with<T: PartialEq + Shown + ?Sized>(&mut self, effect: Effect, key: &str, before: &T, after: &T) {
        if before != after {
            self.say(format!("{key} {} → {}", before.shown(), after.shown()), effect);
        }
    }

    fn inner(&mut self, name: &str) -> Table<'_> {
        Table { place: format!("{}{name}: ", self.place), changes: self.changes }
    }

    /// A table that may be missing.
    fn optional<T>(
        &mut self,
        name: &str,
        (before, after): (Option<&T>, Option<&T>),
        compare: impl FnOnce(&mut Table<'_>, &T, &T),
    ) {
        match (before, after) {
            (None, None) => {}
            (None, Some(_)) => self.say(format!("{name} added"), Effect::Now),
            (Some(_), None) => self.say(format!("{name} removed"), Effect::Now),
            (Some(before), Some(after)) => compare(&mut self.inner(name), before, after),
        }
    }

    /// Tables of which there are several: those that are one and the same, those that are new, those that are gone, and
    /// whether their order is another.
    fn each<T>(
        &mut self,
        kind: &str,
        (before, after): (&[T], &[T]),
        identity: impl Fn(&T) -> String,
        name: impl Fn(&T) -> String,
        compare: impl Fn(&mut Table<'_>, &T, &T),
    ) {
        let same = |of: &[T], wanted: &T| of.iter().position(|it| identity(it) == identity(wanted));
        let mut order = Vec::new();
        for table in after {
            match same(before, table) {
                None => self.say(format!("{kind} {} added", identity(table)), Effect::Now),
                Some(index) => {
                    order.push(index);
                    compare(&mut self.inner(&format!("{kind} {}", name(table))), &before[index], table);
                }
            }
        }
        for table in before.iter().filter(|table| same(after, table).is_none()) {
            self.say(format!("{kind} {} removed", identity(table)), Effect::Now);
        }
        if !order.is_sorted() {
            self.say(format!("the {kind} tables have another order"), Effect::Now);
        }
    }

    fn global(&mut self, before: &Global, after: &Global) {
        let Global {
            router_id,
            nameservers,
            admin_socket,
            threads,
            drain_timeout,
            http,
            transfer_log,
            max_sessions,
            gsi_ready_keys,
        } = before;
        self.key("nameservers", nameservers, &after.nameservers);
        self.key("max_sessions", max_sessions, &after.max_sessions);
        self.key_with(Effect::NextStart, "router_id", router_id, &after.router_id);
        self.key_with(Effect::Refused, "admin_socket", admin_socket, &after.admin_socket);
        self.key_with(Effect::NextStart, "threads", threads, &after.threads);
        self.key("drain_timeout", drain_timeout, &after.drain_timeout);
        self.key_with(Effect::NextStart, "http", http, &after.http);
        self.key_with(Effect::NextStart, "transfer_log", transfer_log, &after.transfer_log);
        self.key_with(Effect::NextStart, "gsi_ready_keys", gsi_ready_keys, &after.gsi_ready_keys);
    }

    fn virtual_server(&mut self, before: &VirtualServer, after: &VirtualServer) {
        let VirtualServer {
            name: _,
            addresses,
            port,
            direct_routing,
            lb_algo,
            data_path,
            relay_ports,
            announce_address,
            proxy_protocol_from,
            tls,
            gsi,
            foreign_data_addresses,
            trusted_networks,
            max_sessions,
            admittance,
            availability,
            login_timeout,
            idle_timeout,
            greeting_timeout,
            connect_timeout,
            check,
            real_servers,
            named_servers,
        } = before;
        self.key("addresses", addresses, &after.addresses);
        self.key("port", port, &after.port);
        self.direct_routing(direct_routing.as_ref(), after.direct_routing.as_ref());
        self.key("lb_algo", lb_algo, &after.lb_algo);
        self.key("data_path", data_path, &after.data_path);
        self.key("relay_ports", relay_ports, &after.relay_ports);
        self.key("announce_address", announce_address, &after.announce_address);
        self.key("proxy_protocol_from", proxy_protocol_from, &after.proxy_protocol_from);
        self.key("foreign_data_addresses", foreign_data_addresses, &after.foreign_data_addresses);
        self.key("trusted_networks", trusted_networks, &after.trusted_networks);
        self.key("max_sessions", max_sessions, &after.max_sessions);
        self.admittance(admittance, &after.admittance);
        self.availability(availability, &after.availability);
        self.key("login_timeout", login_timeout, &after.login_timeout);
        self.key("idle_timeout", idle_timeout, &after.idle_timeout);
        self.key("greeting_timeout", greeting_timeout, &after.greeting_timeout);
        self.key("connect_timeout", connect_timeout, &after.connect_timeout);
        self.optional("tls", (tls.as_ref(), after.tls.as_ref()), |table, before, after| {
            table.tls(before, after);
        });
        self.optional("gsi", (gsi.as_ref(), after.gsi.as_ref()), |table, before, after| {
            table.gsi(before, after);
        });
        self.inner("check").check(check, &after.check);
        self.each(
            "real_server",
            (real_servers, &after.real_servers),
            |server| format!("{} ({})", server.name, std::net::SocketAddr::new(server.address, server.port)),
            |server| server.name.clone(),
            |table, before, after| table.real_server(before, after),
        );
        self.each(
            "real_server",
            (named_servers, &after.named_servers),
            |named| format!("{} (by name, {})", named.template.name, named.question),
            |named| named.template.name.clone(),
            |table, before, after| {
                let NamedServer { question: _, template, position: _ } = before;
                table.real_server(template, &after.template);
            },
        );
    }

    fn admittance(&mut self, before: &Admittance, after: &Admittance) {
        let Admittance { allow, deny, client_limits, denied_commands, queue } = before;
        self.key("allow", allow, &after.allow);
        self.key("deny", deny, &after.deny);
        // Whom no ban concerns is no key: that follows from the whole configuration.
        let ClientLimits { max_sessions, rate, ban, never_banned: _, ipv6_prefix } = client_limits;
        let limits = &after.client_limits;
        self.key("max_sessions_per_client", max_sessions, &limits.max_sessions);
        self.other("session_rate_per_client", rate, &limits.rate);
        self.other("ban", ban, &limits.ban);
        self.other("ipv6_prefix", ipv6_prefix, &limits.ipv6_prefix);
        self.other("deny_commands", denied_commands, &after.denied_commands);
        let of_queue =
            |queue: &Option<QueueLimits>| queue.map(|QueueLimits { length, timeout }| (length, timeout));
        let (before, after) = (of_queue(queue), of_queue(&after.queue));
        self.key("queue_length", &before.map(|queue| queue.0), &after.map(|queue| queue.0));
        self.key("queue_timeout", &before.map(|queue| queue.1), &after.map(|queue| queue.1));
    }

    /// A key whose value takes more than a few words.
    fn other<T: PartialEq>(&mut self, key: &str, before: &T, after: &T) {
        if before != after {
            self.say(format!("another {key}"), Effect::Now);
        }
    }

    fn availability(&mut self, before: &Availability, after: &Availability) {
        let Availability { alpha, quorum, sorry_server, offline_message, slow_start, ejection } = before;
        // It is for servers that are new then; those that are up are proven.
        self.key("alpha", alpha, &after.alpha);
        let Quorum { quorum, hysteresis } = quorum;
        self.key("quorum", quorum, &after.quorum.quorum);
        self.key("hysteresis", hysteresis, &after.quorum.hysteresis);
        self.key("sorry_server", sorry_server, &after.sorry_server);
        self.key("offline_message", offline_message, &after.offline_message);
        self.key("slow_start", slow_start, &after.slow_start);
        self.optional("ejection", (ejection.as_ref(), after.ejection.as_ref()), |table, before, after| {
            let EjectionPolicy { failed_logins, failed_transfers, time, max_time, max_ejected } = before;
            table.key("failed_logins", failed_logins, &after.failed_logins);
            table.key("failed_transfers", failed_transfers, &after.failed_transfers);
            table.key("time", time, &after.time);
            table.key("max_time", max_time, &after.max_time);
            table.key("max_ejected", &format!("{max_ejected}%"), &format!("{}%", after.max_ejected));
        });
    }

    fn tls(&mut self, before: &Tls, after: &Tls) {
        let Tls { certificate, key, implicit_port, required } = before;
        self.key("certificate", certificate, &after.certificate);
        self.key("key", key, &after.key);
        self.key("implicit_port", implicit_port, &after.implicit_port);
        self.key("required", required, &after.required);
    }

    fn check(&mut self, before: &Check, after: &Check) {
        let Check { kind, delay_loop, connect_timeout, max_time, retry, delay_before_retry, rise } = before;
        self.check_kind(kind, &after.kind);
        self.key("delay_loop", delay_loop, &after.delay_loop);
        self.key("connect_timeout", connect_timeout, &after.connect_timeout);
        self.key("max_time", max_time, &after.max_time);
        self.key("retry", retry, &after.retry);
        self.key("delay_before_retry", delay_before_retry, &after.delay_before_retry);
        self.key("rise", rise, &after.rise);
    }

    fn check_kind(&mut self, before: &CheckKind, after: &CheckKind) {
        match (before, after) {
            (CheckKind::Tcp, CheckKind::Tcp) | (CheckKind::Ftp, CheckKind::Ftp) => {}
            (CheckKind::Login(before), CheckKind::Login(after)) => self.account(before, after),
            (CheckKind::Transfer(account, before), CheckKind::Transfer(of_after, after)) => {
                self.account(account, of_after);
                let SampleFile { path, size, adler32 } = before;
                self.key("file", path, &after.path);
                self.key("size", size, &after.size);
                let hexadecimal = |sum: &Option<u32>| sum.map(|sum| format!("{sum:08x}"));
                self.key("checksum", &hexadecimal(adler32), &hexadecimal(&after.adler32));
            }
            (CheckKind::Script(before), CheckKind::Script(after)) => {
                let Script { program, arguments, misc_dynamic } = before;
                self.key("script", program, &after.program);
                if *arguments != after.arguments {
                    // There may be secrets among them.
                    self.say("script has other arguments".into(), Effect::Now);
                }
                self.key("misc_dynamic", misc_dynamic, &after.misc_dynamic);
            }
            (CheckKind::Gsi(before), CheckKind::Gsi(after)) => {
                let GsiCheck { credential, virtual_name } = before;
                self.key("credential", credential, &after.credential);
                self.key("virtual_name", virtual_name, &after.virtual_name);
            }
            _ => self.say(format!("type {} → {}", before.word(), after.word()), Effect::Now),
        }
    }

    fn account(&mut self, before: &Account, after: &Account) {
        let Account { user, password } = before;
        self.key("user", user, &after.user);
        if *password != after.password {
            // In no log.
            self.say("another password".into(), Effect::Now);
        }
    }

    fn real_server(&mut self, before: &RealServer, after: &RealServer) {
        let RealServer {
            name: _,
            address: _,
            port: _,
            weight,
            max_connections,
            data_addresses,
            data_address_map,
            data_ports,
            checks_data_peer,
            send_proxy_protocol,
            tls,
            gsi_name,
            gsi_subject,
            check,
            inhibit_on_failure,
        } = before;
        self.key("weight", weight, &after.weight);
        self.key("max_connections", max_connections, &after.max_connections);
        self.key("data_addresses", data_addresses, &after.data_addresses);
        self.key("data_address_map", data_address_map, &after.data_address_map);
        self.key("data_ports", data_ports, &after.data_ports);
        self.key("checks_data_peer", checks_data_peer, &after.checks_data_peer);
        self.key("send_proxy_protocol", send_proxy_protocol, &after.send_proxy_protocol);
        self.key("gsi_name", gsi_name, &after.gsi_name);
        self.key("gsi_subject", gsi_subject, &after.gsi_subject);
        self.key("inhibit_on_failure", inhibit_on_failure, &after.inhibit_on_failure);
        self.optional("tls", (tls.as_ref(), after.tls.as_ref()), |table, before, after| {
            table.server_tls(before, after);
        });
        self.optional("check", (check.as_ref(), after.check.as_ref()), |table, before, after| {
            table.check(before, after);
        });
    }

    fn gsi(&mut self, before: &Gsi, after: &Gsi) {
        let Gsi { certificate, key, trust_anchors, identities, backend_login } = before;
        self.key("certificate", certificate, &after.certificate);
        self.key("key", key, &after.key);
        self.key("trust_anchors", trust_anchors, &after.trust_anchors);
        let word = |login: &BackendLogin| login.word().to_owned();
        self.key("backend_login", &word(backend_login), &word(&after.backend_login));
        let networks = |login: &BackendLogin| match login {
            BackendLogin::Delegated(networks) => networks.clone(),
            BackendLogin::Passthrough => Vec::new(),
        };
        self.key("passthrough_networks", &networks(backend_login), &networks(&after.backend_login));
        let IdentityRules { allow, deny, max_sessions, persistent } = identities;
        self.other("allow_dn", allow, &after.identities.allow);
        self.other("deny_dn", deny, &after.identities.deny);
        self.key("max_sessions_per_dn", max_sessions, &after.identities.max_sessions);
        let word = |persistent| String::from(if persistent { "dn" } else { "none" });
        self.key("persistence", &word(*persistent), &word(after.identities.persistent));
    }

    fn server_tls(&mut self, before: &ServerTls, after: &ServerTls) {
        let ServerTls { mode, trust_anchors, name, verify } = before;
        self.key("mode", mode, &after.mode);
        self.key("trust_anchors", trust_anchors, &after.trust_anchors);
        self.key("name", name, &after.name);
        self.key("verify", verify, &after.verify);
    }
}

#[cfg(test)]
mod tests;
