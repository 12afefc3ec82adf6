//! What the fuzzers were given and found, replayed without a fuzzer; and the same checks on attacks put together at random.
#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;
use std::{fs, panic};

use proptest::prelude::*;

/// More than this belongs into a corpus that is kept elsewhere.
const MAX_FILES: usize = 300;
const MAX_BYTES: usize = 300_000;

type Check = fn(&[u8]);

const TARGETS: &[(&str, Check)] = &[
    ("line", checks::line),
    ("command", checks::command),
    ("reply", checks::reply),
    ("passive_address", checks::passive_address),
    ("session", checks::session),
    ("proxy_protocol", checks::proxy_protocol),
    ("session_sync", checks::session_sync),
    ("vrrp", checks::vrrp),
    ("netlink", checks::netlink),
    ("config", checks::config),
    ("adat", checks::adat),
    ("gsi_path", checks::gsi_path),
    ("revocation_list", checks::revocation_list),
    ("signing_policy", checks::signing_policy),
];

#[test]
fn every_input_of_the_fuzz_corpus_passes_its_check() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let (mut files, mut bytes) = (0, 0);
    for folder in fs::read_dir(&corpus).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        let (_, check) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of that name");
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let input = fs::read(&path).unwrap();
            files += 1;
            bytes += input.len();
            assert!(panic::catch_unwind(|| check(&input)).is_ok(), "{}", path.display());
        }
    }
    assert!(files >= TARGETS.len(), "the corpus is there");
    assert!(files < MAX_FILES && bytes < MAX_BYTES, "{files} files, {bytes} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_spelling_slips_an_address_past_the_bounce_rules(
        turns in proptest::collection::vec(turn(), 1..30),
        inputs in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut records = Vec::new();
        for (from_server, bytes) in turns {
            for part in bytes.chunks(127) {
                let length = u8::try_from(part.len()).unwrap();
                records.push(length | if from_server { 0x80 } else { 0 });
                records.extend_from_slice(part);
            }
        }
        checks::session(&records);
        for (name, check) in TARGETS {
            if *name != "session" {
                check(&inputs);
            }
        }
    }
}

/// Who speaks, and pieces of what attackers and servers say.
fn turn() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let client: Vec<&[u8]> = vec![
        b"PORT 203,0,113,9,200,1",
        b"PORT",
        b"EPRT |1|203.0.113.9|51201|",
        b"SPOR 203,0,113,9,200,1",
        b"PORT 192,0,2,7,200,1",
        b" ",
        b"X",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\x01",
        b"\x80",
        b"\xf1",
        b"\xfb",
        b"\xfd",
        b"\xff",
        b"\xff\xf4",
        b"\xff\xfd",
        b"PO",
        b"RT ",
        b"203,0,113,9,200,1",
        b"NOOP",
        b"\t",
        b"CWD ",
    ];
    let server: Vec<&[u8]> = vec![
        b"200 ok\r\n",
        b"500 no\r\n",
        b"230 in\r\n",
        b"331 p\r\n",
        b"227 x (10,0,0,11,1,2)\r\n",
        b"150 go\r\n",
    ];
    let long = Just(vec![b'x'; 8200]);
    let words = |of: Vec<&'static [u8]>| proptest::sample::select(of).prop_map(<[u8]>::to_vec);
    prop_oneof![
        12 => proptest::collection::vec(words(client), 1..6).prop_map(|pieces| (false, pieces.concat())),
        1 => long.prop_map(|bytes| (false, bytes)),
        3 => words(server).prop_map(|bytes| (true, bytes)),
    ]
}
