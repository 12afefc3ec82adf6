//! What a door that ends GSI says of itself before it has a server: FEAT and HELP, from what its servers say and in what is true of all.
use super::command::{Command, Verb};
use super::policy::DataPath;
use super::session::SessionPolicy;

/// What a client may take the first reply for.
const MECHANISM: &str = "AUTH GSSAPI";

/// Commands of a line of HELP, as Globus servers write it.
const COMMANDS_IN_A_LINE: usize = 8;

/// The reply to FEAT (RFC 2389). With no features of servers it says how to log in, which is true in any case.
#[must_use]
pub fn features_before_login(policy: &SessionPolicy, features: &[String]) -> Vec<u8> {
    let mut reply = format!("211-Extensions supported\r\n {MECHANISM}\r\n");
    for feature in features.iter().filter(|feature| is_true(policy, feature)) {
        reply.push_str(&format!(" {feature}\r\n"));
    }
    reply.push_str("211 End.\r\n");
    reply.into_bytes()
}

/// The reply to HELP.
#[must_use]
pub fn help_before_login(policy: &SessionPolicy, commands: &[String]) -> Vec<u8> {
    let commands: Vec<&String> =
        commands.iter().filter(|command| !policy.denied_commands.denies(command)).collect();
    let mut reply = "214-The following commands are recognized:\r\n".to_owned();
    for line in commands.chunks(COMMANDS_IN_A_LINE) {
        let line: Vec<String> = line.iter().map(|command| format!("{command:<4}")).collect();
        reply.push_str(&format!("    {}\r\n", line.join("    ").trim_end()));
    }
    reply.push_str("214 End\r\n");
    reply.into_bytes()
}

/// Whether a feature of the servers is one of the door's, too.
fn is_true(policy: &SessionPolicy, feature: &str) -> bool {
    let bytes = feature.as_bytes();
    if policy.denied_commands.hides_feature(bytes) {
        return false;
    }
    match Command::parse(bytes).verb {
        // The door says its own, and has no other beside GSI.
        Verb::Auth => false,
        // Refused to all but Globus clients, and who this is nobody knows yet.
        Verb::Epsv => policy.data_path != DataPath::Direct,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ftp::CommandFilter;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn policy(denied: &[&str], data_path: DataPath) -> SessionPolicy {
        let mut denied_commands = CommandFilter::default();
        for rule in denied {
            denied_commands.deny(rule).unwrap();
        }
        SessionPolicy { denied_commands, data_path, ..SessionPolicy::default() }
    }

    #[test]
    fn features_are_those_of_the_servers_without_what_is_not_true_of_the_door() {
        let features =
            words(&["AUTH TLS", "AUTH TLS;GSSAPI;", "MLST Type*;", "EPSV", "SIZE", "CKSM MD5:10;"]);
        #[rustfmt::skip]
        let table: &[(&[&str], DataPath, &str)] = &[
            (&[],       DataPath::Auto,   " MLST Type*;\r\n EPSV\r\n SIZE\r\n CKSM MD5:10;\r\n"),
            (&["MLSD"], DataPath::Auto,   " EPSV\r\n SIZE\r\n CKSM MD5:10;\r\n"),
            (&["CKSM"], DataPath::Direct, " MLST Type*;\r\n SIZE\r\n"),
        ];
        for (denied, data_path, expected) in table {
            let reply = features_before_login(&policy(denied, *data_path), &features);
            let expected = format!("211-Extensions supported\r\n AUTH GSSAPI\r\n{expected}211 End.\r\n");
            assert_eq!(String::from_utf8(reply).unwrap(), expected, "{denied:?}");
        }
    }

    #[test]
    fn help_lists_what_is_not_denied_eight_in_a_line() {
        let commands =
            words(&["ALLO", "PWD", "DELE", "RETR", "STOR", "SIZE", "MODE", "TYPE", "REST", "NLST"]);
        let reply = help_before_login(&policy(&["DELE"], DataPath::Auto), &commands);
        assert_eq!(
            String::from_utf8(reply).unwrap(),
            "214-The following commands are recognized:\r\n    ALLO    PWD     RETR    STOR    SIZE    MODE    TYPE    REST\r\n    NLST\r\n214 End\r\n"
        );
    }
}
