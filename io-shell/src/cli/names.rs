//! Folders and devices as people name them: by name, by id, or by the beginning of an id.

use crate::api::path::printable;
use crate::api::view::{FolderView, StatusView, TransferView};
use crate::cli::exit::Failure;

/// The folder that `text` names.
///
/// # Errors
/// No such folder, or several; the candidates are listed.
pub fn folder<'s>(status: &'s StatusView, text: &str) -> Result<&'s FolderView, Failure> {
    pick("folder", status.folders.iter().map(|f| (f.id.as_str(), f.name.as_str(), f)), text)
}

/// The id of the other device that `text` names.
///
/// # Errors
/// No such device, or several; the candidates are listed.
pub fn peer(status: &StatusView, text: &str) -> Result<String, Failure> {
    pick("device", status.peers.iter().map(|p| (p.id.as_str(), p.name.as_str(), p.id.clone())), text)
}

/// The id of the device that `text` names, this one included.
///
/// # Errors
/// No such device, or several; the candidates are listed.
pub fn device(status: &StatusView, text: &str) -> Result<String, Failure> {
    let own = status.device.iter().map(|d| (d.id.as_str(), d.name.as_str(), d.id.clone()));
    let peers = status.peers.iter().map(|p| (p.id.as_str(), p.name.as_str(), p.id.clone()));
    pick("device", own.chain(peers), text)
}

/// The transfer that `text` names, by its path or by its content.
///
/// # Errors
/// No such transfer, or several; the candidates are listed.
pub fn transfer<'s>(status: &'s StatusView, text: &str) -> Result<&'s TransferView, Failure> {
    pick("transfer", status.transfers.iter().map(|t| (t.content.as_str(), t.path.as_str(), t)), text)
}

/// How a word may name something.
#[derive(Clone, Copy)]
enum Rule {
    Id,
    Name,
    Prefix,
}

/// A whole id first, so that nobody can hide a device by naming theirs like its id; then a name; then the beginning
/// of an id.
fn pick<'s, T: Clone>(
    kind: &str,
    known: impl Iterator<Item = (&'s str, &'s str, T)>,
    text: &str,
) -> Result<T, Failure> {
    let known: Vec<_> = known.collect();
    let lower = text.to_ascii_lowercase();
    for rule in [Rule::Id, Rule::Name, Rule::Prefix] {
        let fits = |id: &str, name: &str| match rule {
            Rule::Id => id == lower,
            Rule::Name => name == text,
            Rule::Prefix => !lower.is_empty() && id.starts_with(&lower),
        };
        let found: Vec<_> = known.iter().filter(|(id, name, _)| fits(id, name)).collect();
        match found.as_slice() {
            [] => {}
            [(_, _, one)] => return Ok(one.clone()),
            several => {
                let list = list(several.iter().map(|(id, name, _)| (*id, *name)));
                return Err(Failure::Usage(format!("several {kind}s match '{text}': {list}. Name it by its id")));
            }
        }
    }
    if known.is_empty() {
        return Err(Failure::Usage(format!("no {kind} matches '{text}': there is none yet")));
    }
    let list = list(known.iter().map(|(id, name, _)| (*id, *name)));
    Err(Failure::Usage(format!("no {kind} matches '{text}'. There are: {list}")))
}

/// `name (id)` of each, with enough of the id to name it by.
fn list<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let shown: Vec<_> = items.map(|(id, name)| format!("{} ({})", printable(name), short(id))).collect();
    shown.join(", ")
}

/// The first twelve digits of an id: enough to name it by.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::view::{DeviceView, PeerView};

    fn status() -> StatusView {
        let peer = |id: &str, name: &str| PeerView { id: id.into(), name: name.into(), ..PeerView::default() };
        StatusView {
            device: Some(DeviceView { id: "aa11".into(), name: "me".into(), ..DeviceView::default() }),
            peers: vec![peer("bb22", "desk"), peer("bb33", "desk"), peer("cc44", "bb22"), peer("dd55", "phone")],
            ..StatusView::default()
        }
    }

    #[test]
    fn names_ids_and_beginnings_of_ids_are_found() {
        let check = |text, want| assert_eq!(device(&status(), text).unwrap(), want, "{text}");
        check("phone", "dd55");
        check("bb33", "bb33");
        check("DD", "dd55");
        check("bb22", "bb22");
        check("me", "aa11");
    }

    #[test]
    fn what_is_ambiguous_or_unknown_lists_the_candidates() {
        let check = |text, words: &[&str]| {
            let error = peer(&status(), text).unwrap_err().to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{error}");
        };
        check("desk", &["several", "bb22", "bb33"]);
        check("bb", &["several"]);
        check("me", &["no device", "phone (dd55)"]);
        check("", &["no device"]);
    }
}
