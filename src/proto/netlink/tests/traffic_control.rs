//! What tc(8) and the kernel say to each other, in captured.txt.
use super::captured::all;
use super::*;
use crate::proto::netlink::traffic_control::{
    HANDLE, Hook, NAME, PRIORITY, add_clsact, attach, detach, filters, qdiscs, remove_clsact,
};

/// Without its sequence number.
fn plain(bytes: &[u8]) -> Vec<u8> {
    [&bytes[..8], &bytes[12..]].concat()
}

fn request(request: &Request, confirm: Confirm) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.write(&mut bytes, 7, confirm);
    plain(&bytes)
}

#[test]
#[cfg(target_endian = "little")]
fn requests_are_those_of_tc() {
    let captured = all();
    let table = [
        ("asked to add a clsact", add_clsact(3), Confirm::Yes),
        ("asked to remove the clsact", remove_clsact(3), Confirm::Yes),
        ("asked for filters", filters(3, Hook::Ingress), Confirm::No),
        ("asked for qdiscs", qdiscs(), Confirm::No),
        ("asked to detach", detach(3, PRIORITY, HANDLE), Confirm::Yes),
    ];
    for (name, asked, confirm) in table {
        let theirs = &captured[name];
        assert_eq!(request(&asked, confirm), plain(theirs), "{name}");
    }
}

#[test]
#[cfg(target_endian = "little")]
fn a_program_is_attached_as_tc_does_it() {
    let captured = all();
    let theirs = &captured["asked to attach"];
    let bytes = written(&attach(3, 4));
    assert_eq!(bytes[4..8], theirs[4..8], "kind and flags");
    let ours = only(&bytes);
    let theirs = only(theirs);
    assert_eq!(data(&ours)[..20], data(&theirs)[..20]);
    let options = |message: &Message<'_>| {
        let options = Attributes::new(&data(message)[20..]).find(2).unwrap().unwrap();
        let options = options.nested().map(|option| option.unwrap());
        options.map(|option| (option.kind, option.value.to_vec())).collect::<BTreeMap<_, _>>()
    };
    let mut theirs = options(&theirs);
    // tc(8) names the file that it has the program from.
    theirs.insert(7, [NAME.as_bytes(), &[0]].concat());
    assert_eq!(options(&ours), theirs);
}

#[test]
#[cfg(target_endian = "little")]
fn filters_are_read_as_tc_shows_them() {
    let captured = all();
    let read: Vec<Filter> = Messages::new(&captured["told of filters"])
        .filter_map(|message| Filter::read(data(&message.unwrap())).unwrap())
        .collect();
    let filter = |priority, handle| Filter {
        index: 3,
        priority,
        handle,
        kind: "bpf".into(),
        name: Some("gridfront:[*fsobj]".into()),
    };
    assert_eq!(read, [filter(5, 1), filter(PRIORITY, HANDLE)]);
    assert!(read[1].is_in_our_place() && !read[1].is_ours() && !read[0].is_in_our_place());
}

#[test]
#[cfg(target_endian = "little")]
fn qdiscs_are_read_as_tc_shows_them() {
    let captured = all();
    let read: Vec<(Qdisc, bool)> = Messages::new(&captured["told of qdiscs"])
        .filter_map(|message| Qdisc::read(data(&message.unwrap())).unwrap())
        .map(|qdisc| (qdisc.clone(), qdisc.is_at_ingress()))
        .collect();
    let qdisc = |kind: &str| Qdisc { index: 3, kind: kind.into() };
    assert_eq!(read, [(qdisc("noqueue"), false), (qdisc("clsact"), true)]);
}

#[test]
fn what_is_attached_reads_back_as_ours() {
    let bytes = written(&attach(3, 4));
    let filter = Filter::read(data(&only(&bytes))).unwrap().unwrap();
    assert!(filter.is_ours() && filter.is_in_our_place(), "{filter:?}");
    // The options of others are not looked into.
    let mut other = bytes.clone();
    let kind = other.windows(3).position(|window| window == b"bpf").unwrap();
    other[kind..kind + 3].copy_from_slice(b"u32");
    assert_eq!(Filter::read(data(&only(&other))).unwrap().unwrap().name, None);
    assert_eq!(Filter::read(&[0; 19]), Err(FormatError::Truncated("a part of traffic control")));
}
