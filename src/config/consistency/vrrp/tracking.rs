//! What instances name: what they depend on, and what moves with them.
use super::super::super::error::{Findings, alternatives, did_you_mean};
use super::super::super::model::VirtualServer;
use super::super::super::model::vrrp::{Track, Vrrp, VrrpInstance};
use super::{TrackPlaces, VrrpInstancePlaces, VrrpPlaces};
use std::collections::{BTreeSet, HashMap};

/// Names that are none, and weights that do nothing.
pub(super) fn tracks(vrrp: &Vrrp, places: &VrrpPlaces, servers: &[VirtualServer], findings: &Findings) {
    let scripts: Vec<&str> = vrrp.scripts.iter().map(|script| script.name.as_str()).collect();
    let files: Vec<&str> = vrrp.track_files.iter().map(|file| file.name.as_str()).collect();
    let servers: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    for (instance, places) in vrrp.instances.iter().zip(&places.instances) {
        for (tracks, places, known) in [
            (&instance.tracks.interfaces, &places.track_interfaces, None),
            (&instance.tracks.scripts, &places.track_scripts, Some(("[[vrrp_script]]", &scripts))),
            (&instance.tracks.files, &places.track_files, Some(("[[track_file]]", &files))),
            (
                &instance.tracks.virtual_servers,
                &places.track_virtual_servers,
                Some(("[[virtual_server]]", &servers)),
            ),
        ] {
            each(tracks, places, known, instance, findings);
        }
    }
}

fn each(
    tracks: &[Track],
    places: &[TrackPlaces],
    known: Option<(&str, &Vec<&str>)>,
    instance: &VrrpInstance,
    findings: &Findings,
) {
    for (index, (track, at)) in tracks.iter().zip(places).enumerate() {
        if let Some((kind, names)) = known
            && !names.contains(&track.name.as_str())
        {
            unknown(&track.name, at.name, kind, names, findings);
        } else if tracks[..index].iter().any(|other| other.name == track.name) {
            findings.error(at.name, format!("`{}` is tracked twice", track.name), "keep one of them");
        } else if instance.is_owner() && track.weight != 0 {
            let what = format!(
                "`{}` has weight {}, and priority 255 owns its addresses: nothing changes it",
                track.name, track.weight
            );
            let mend = match at.weight {
                Some(_) => {
                    "write weight 0, with which it is a fault while this is down, or a lower priority".into()
                }
                None => format!("write `{{ name = \"{}\", weight = 0 }}`, or a lower priority", track.name),
            };
            findings.error(at.weight.unwrap_or(at.name), what, mend);
        }
    }
}

fn unknown(name: &str, at: usize, kind: &str, known: &[&str], findings: &Findings) {
    let known: Vec<&str> = known.iter().copied().filter(|name| !name.is_empty()).collect();
    let mend = match did_you_mean(name, &known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => format!("add a `{kind}` of that name"),
        None => {
            let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("write {}, or add a `{kind}` of that name", alternatives(&quoted))
        }
    };
    findings.error(at, format!("there is no `{kind}` named `{name}`"), mend);
}

/// Scripts that are never run and files that are never read.
pub(super) fn unused(vrrp: &Vrrp, places: &VrrpPlaces, findings: &Findings) {
    let named = |of: fn(&VrrpInstance) -> &Vec<Track>| -> BTreeSet<&str> {
        vrrp.instances.iter().flat_map(of).map(|track| track.name.as_str()).collect()
    };
    let (scripts, files) =
        (named(|instance| &instance.tracks.scripts), named(|instance| &instance.tracks.files));
    let of_scripts =
        vrrp.scripts.iter().zip(&places.scripts).map(|(script, at)| (&script.name, at, &scripts));
    let of_files =
        vrrp.track_files.iter().zip(&places.track_files).map(|(file, at)| (&file.name, at, &files));
    for (name, at, used) in of_scripts.chain(of_files) {
        if !name.is_empty() && !used.contains(name.as_str()) {
            findings.warning(
                at.header,
                format!("no vrrp_instance tracks `{name}`: it does nothing"),
                "name it in `track_scripts` or `track_files`, or remove it",
            );
        }
    }
}

/// Groups of instances that there are, each in one.
pub(super) fn groups(vrrp: &Vrrp, places: &VrrpPlaces, findings: &Findings) {
    let known: Vec<&str> = vrrp.instances.iter().map(|instance| instance.name.as_str()).collect();
    let mut seen: HashMap<&str, (&str, usize)> = HashMap::new();
    for (index, (group, places_of)) in vrrp.sync_groups.iter().zip(&places.sync_groups).enumerate() {
        for (name, at) in group.instances.iter().zip(&places_of.instances) {
            if !known.contains(&name.as_str()) {
                unknown(name, *at, "[[vrrp_instance]]", &known, findings);
                continue;
            }
            match seen.insert(name, (&group.name, index)) {
                None => {}
                Some((_, same)) if same == index => {
                    findings.error(*at, format!("`{name}` is written twice"), "keep one of them");
                }
                Some((other, _)) => findings.error(
                    *at,
                    format!("`{name}` is already in vrrp_sync_group `{other}`, and can move with one alone"),
                    "make one group of the two, or remove it here",
                ),
            }
        }
        let members: Vec<(&VrrpInstance, &VrrpInstancePlaces)> = vrrp
            .instances
            .iter()
            .zip(&places.instances)
            .filter(|(instance, _)| group.instances.contains(&instance.name))
            .collect();
        if let ([_], [at]) = (&members[..], &places_of.instances[..]) {
            findings.warning(
                *at,
                format!("vrrp_sync_group `{}` has one instance, which moves alone", group.name),
                "add the others, or remove the group",
            );
        }
        weights_of_members(&group.name, &members, findings);
    }
}

/// A weight that shifts one member's priority and not another's has the two disagree about the master for ever.
fn weights_of_members(group: &str, members: &[(&VrrpInstance, &VrrpInstancePlaces)], findings: &Findings) {
    fn weights(instance: &VrrpInstance) -> BTreeSet<(usize, &str, i16)> {
        let tracks = &instance.tracks;
        [&tracks.interfaces, &tracks.scripts, &tracks.files, &tracks.virtual_servers]
            .into_iter()
            .enumerate()
            .flat_map(|(kind, tracks)| tracks.iter().map(move |track| (kind, &track.name[..], track.weight)))
            .filter(|(.., weight)| *weight != 0)
            .collect()
    }
    let Some(((first, _), others)) = members.split_first() else { return };
    if let Some((other, places)) = others.iter().find(|(other, _)| weights(other) != weights(first)) {
        findings.warning(
            places.name.unwrap_or(places.header),
            format!(
                "`{}` and `{}` move together in vrrp_sync_group `{group}`, and weights shift their priorities apart",
                first.name, other.name
            ),
            "track the same with the same weights in every instance of the group, or with weight 0",
        );
    }
}
