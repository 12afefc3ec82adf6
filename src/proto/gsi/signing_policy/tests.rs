//! Which names a file allows, and which files are refused.
use proptest::prelude::*;

use super::*;
use crate::proto::gsi::issuing::name;
use crate::proto::gsi::with_common_name;

use SigningPolicyVerdict::{Allowed, Forbidden, Silent};

/// `/O=Grid/CN=…`, and one CN more for each part.
fn dn(parts: &str) -> DistinguishedName {
    let mut parts = parts.split('|');
    let mut der = name(parts.next().unwrap());
    for part in parts {
        der = with_common_name(&der, part).unwrap();
    }
    DistinguishedName::from_der(&der).unwrap()
}

fn file(subjects: &str) -> String {
    format!("access_id_CA X509 '/O=Grid/CN=CA'\npos_rights globus CA:sign\ncond_subjects globus {subjects}\n")
}

#[test]
fn names_match_as_globus_matches_them_row_by_row() {
    #[rustfmt::skip]
    let table: &[(&str, &str, SigningPolicyVerdict)] = &[
        // patterns                              common names      verdict
        (r#"'"/O=Grid/*"'"#,                     "User",           Allowed),
        (r#"'"/O=Grid/*"'"#,                     "User|5",         Allowed),
        (r#"'"/O=Other/*"'"#,                    "User",           Forbidden),
        (r#"'"/O=Other/*" "/O=Grid/CN=U*"'"#,    "User",           Allowed),
        (r#"'/O=Grid/CN=User'"#,                 "User",           Allowed),
        (r#"'/O=Grid/CN=A B'"#,                  "A B",            Allowed),
        ("/O=Grid/CN=User",                      "User",           Allowed),
        (r#"'"/O=Grid/CN=User"'"#,               "User2",          Forbidden),
        (r#"'"/O=Grid/CN=User"'"#,               "Use",            Forbidden),
        // A star is for one character or more, and only the last one is a star.
        (r#"'"/O=Grid/CN=User*"'"#,              "User",           Forbidden),
        (r#"'"/O=Grid/CN=User*"'"#,              "User2",          Allowed),
        (r#"'"/O=Grid/CN=*/CN=5"'"#,             "User|5",         Allowed),
        (r#"'"/O=Grid/CN=*/CN=5"'"#,             "User|6",         Forbidden),
        (r#"'"/O=*/CN=*"'"#,                     "User",           Forbidden),
        (r#"'"/O=*/CN=*"'"#,                     "*|x",            Forbidden),
        (r#"'"*"'"#,                             "User",           Allowed),
        (r#"'"/O=Grid/CN=Use?"'"#,               "User",           Forbidden),
        (r#"'"/o=GRID/cn=uSER"'"#,               "User",           Allowed),
        // A backslash is taken away, and names have one before a slash.
        (r#"'"/O=Grid/CN=host\/a"'"#,            "host/a",         Forbidden),
        (r#"'"/O=Grid/CN=host\\/a"'"#,           "host/a",         Allowed),
        (r#"'"/O=Grid/CN=\x55ser"'"#,            "User",           Allowed),
        (r#"'"/O=Grid/*" '"#,                    "User",           Allowed),
    ];
    for (patterns, names, expected) in table {
        let policy = SigningPolicy::parse(file(patterns).as_bytes()).unwrap();
        assert_eq!(policy.verdict(&dn("CA"), &dn(names)), *expected, "{patterns} {names}");
    }
}

#[test]
fn old_names_of_types_are_the_new_ones() {
    for (one, other) in [("/Email=", "/emailAddress="), ("/E=", "/emailAddress="), ("/USERID=", "/UID=")] {
        let [one, other] = [one, other].map(|name| normalized(&format!("/O=x{name}a/CN=y")));
        assert_eq!(one, other);
    }
    assert_ne!(normalized("/CE=a"), normalized("/CemailAddress=a"));
}

#[test]
fn a_file_is_about_the_authorities_that_it_names() {
    let text = format!(
        "# CA\n\n{}\n{}",
        file("'\"/O=Grid/CN=A*\"'"),
        file("'\"/O=Grid/CN=B*\"'").replace("CN=CA", "CN=CB")
    );
    let policy = SigningPolicy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.verdict(&dn("CA"), &dn("Alice")), Allowed);
    assert_eq!(policy.verdict(&dn("CA"), &dn("Bob")), Forbidden);
    assert_eq!(policy.verdict(&dn("CB"), &dn("Bob")), Allowed);
    assert_eq!(policy.verdict(&dn("CC"), &dn("Alice")), Silent);
    assert!(policy.names(&dn("CA")) && policy.names(&dn("CB")) && !policy.names(&dn("CC")));
    let anybody = file("'\"/O=Grid/*\"'").replace("access_id_CA X509 '/O=Grid/CN=CA'", "access_id_ANYBODY");
    let policy = SigningPolicy::parse(anybody.as_bytes()).unwrap();
    assert_eq!(policy.verdict(&dn("CC"), &dn("Alice")), Allowed);
    assert!(!policy.names(&dn("CC")));
}

#[test]
fn what_is_not_understood_is_refused_with_its_line_row_by_row() {
    const CA: &str = "access_id_CA X509 '/O=Grid/CN=CA'\n";
    #[rustfmt::skip]
    let table: &[(String, usize, &str)] = &[
        (String::new(),                                        1, "there is no access_id_CA"),
        ("# nothing\n\n".to_owned(),                           3, "there is no access_id_CA"),
        ("pos_rights globus CA:sign\n".to_owned(),             1, "an entry begins with access_id_CA"),
        ("\naccess_id_CA PGP 'x'\n".to_owned(),                2, "`PGP` where `X509` is expected"),
        ("access_id_CA X509".to_owned(),                       1, "the name of the authority is missing"),
        ("access_id_CA X509 '/O=Grid\n/CN=CA'\n".to_owned(),   1, "an apostrophe is not closed"),
        (CA.to_owned(),                                        1, "pos_rights is missing"),
        (format!("{CA}neg_rights globus CA:sign\n"),           2, "only pos_rights is"),
        (format!("{CA}pos_rights globus CA:revoke\n"),         2, "`CA:revoke` where `CA:sign`"),
        (format!("{CA}pos_rights globus CA:sign\n"),           2, "cond_subjects is missing"),
        (format!("{CA}pos_rights globus CA:sign\ncond_time x y\n"), 3, "only cond_subjects is"),
        (file("'\"\"'"),                                       3, "there are no names"),
        (file(r#"'"/O=Grid/CN=\"'"#),                          3, "a backslash is followed"),
        (file(r#"'"/O=Grid/CN=\xZZ"'"#),                       3, "a backslash is followed"),
        (file("'\"/O=a\"'\ncond_subjects globus '\"/O=b\"'"),  2, "more than one cond_subjects"),
        (file(&format!("'{}'", "\"/O=x\" ".repeat(MAX_PATTERNS + 1))), 3, "more than 1024 patterns"),
        ("x".repeat(MAX_SIGNING_POLICY + 1),                   1, "larger than 64 KiB"),
    ];
    for (text, line, expected) in table {
        let error = SigningPolicy::parse(text.as_bytes()).unwrap_err();
        let start: String = text.chars().take(80).collect();
        assert!(error.line == *line && error.what.contains(expected), "{start}: {error}");
    }
}

/// `~` is a byte that is not UTF-8, as Latin-1 has them.
#[test]
fn bytes_that_are_not_utf8_do_not_matter_in_comments_alone() {
    let file = file("'\"/O=Grid/*\"'");
    #[rustfmt::skip]
    let table: &[(String, Option<(usize, &str)>)] = &[
        (format!("# Autorit~ de certification\n{file}"),      None),
        (format!("{file}\t# ~'~\n  #~"),                      None),
        (file.replace("CA:sign", "CA:sign # l'autorit~ #"),   None),
        (file.replace("/CN=CA'", "/CN=CA'#~"),                None),
        (file.replace("/O=Grid/*", "/O=Grid # x/*"),          None),
        (format!("# a\n~\n{file}"),                           Some((2, "not UTF-8"))),
        (file.replace("CN=CA", "CN=C~"),                      Some((1, "not UTF-8"))),
        (file.replace("/O=Grid/*", "/O=Grid # ~/*"),          Some((3, "not UTF-8"))),
        (file.replace("globus CA", "globus# ~ CA"),           Some((2, "not UTF-8"))),
        (file.replace("/CN=CA'", "/CN=CA#~"),                 Some((1, "not UTF-8"))),
        (file.replace("/CN=CA'", "/CN=CA # a"),               Some((1, "an apostrophe is not closed"))),
        (file.replace("globus CA", "globus# CA"),             Some((2, "`globus#` where `globus`"))),
    ];
    for (text, expected) in table {
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'~' { 0xe9 } else { byte }).collect();
        match (SigningPolicy::parse(&bytes), expected) {
            (Ok(_), None) => {}
            (Err(error), Some((line, what))) => {
                assert!(error.line == *line && error.what.contains(what), "{text}: {error}");
            }
            (read, _) => panic!("{text}: {read:?}"),
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in "[ -~\n]{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = SigningPolicy::parse(&bytes);
        let text = file(&format!("'{}'", text.replace(['\'', '\n'], "")));
        if let Ok(policy) = SigningPolicy::parse(text.as_bytes()) {
            let _ = policy.verdict(&dn("CA"), &dn("User"));
        }
    }

    /// A pattern without a star allows its own name and no other.
    #[test]
    fn a_name_allows_itself_alone(one in "[A-Za-z0-9 .:-]{1,20}", other in "[A-Za-z0-9 .:-]{1,20}") {
        let policy = SigningPolicy::parse(file(&format!("'\"/O=Grid/CN={one}\"'")).as_bytes()).unwrap();
        prop_assert_eq!(policy.verdict(&dn("CA"), &dn(&one)), Allowed);
        if !one.eq_ignore_ascii_case(&other) {
            prop_assert_eq!(policy.verdict(&dn("CA"), &dn(&other)), Forbidden);
        }
    }
}
