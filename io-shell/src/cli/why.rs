//! `why`: why an item is not in sync, and the remedy.

use crate::api::Client;
use crate::api::client::query_part;
use crate::api::path::JsonPath;
use crate::api::view::{FolderView, StatusView, WhyView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::{Json, names};
use serde::Deserialize;
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exits 0 if the item is in sync, 1 if it is not.")]
pub struct WhyArgs {
    /// The item: a path of the file system, or one inside a folder
    path: PathBuf,
    /// Take PATH as one inside this folder
    #[arg(long)]
    folder: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Yes if the item is in sync, no otherwise.
///
/// # Errors
/// The daemon's, or a path that is in no folder.
pub async fn run(args: WhyArgs, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    let (folder, path) = match &args.folder {
        Some(text) => (names::folder(&status, text)?, args.path.as_os_str().as_bytes().to_vec()),
        None => {
            let here = std::env::current_dir().map_err(|e| Failure::Usage(format!("the current directory: {e}")))?;
            locate(&status, &args.path, &here)?
        }
    };
    let json = JsonPath::from(&path[..]);
    let mut target = format!("/v1/why?folder={}&path={}", folder.id, query_part(&json.path));
    if let Some(base64) = &json.path_base64 {
        target.push_str(&format!("&path_base64={}", query_part(base64)));
    }
    let answer: Value = client.get(&target).await?;
    let why = WhyView::deserialize(&answer).map_err(anyhow::Error::from)?;
    if args.json.json {
        out.json(&answer)?;
    } else {
        let verdict = if why.in_sync { "in sync" } else { "not in sync" };
        out.line(&format!("{}: {verdict}: {}", why.path.display(), crate::api::path::printable(&why.reason)))?;
        if !why.remedy.is_empty() {
            out.line(&format!("  {}", why.remedy))?;
        }
    }
    Ok(if why.in_sync { Exit::Yes } else { Exit::No })
}

/// The folder and the path inside it that a person means: first as a path of the file system, then, if there is but
/// one folder, as a path inside that.
fn locate<'s>(status: &'s StatusView, path: &Path, here: &Path) -> Result<(&'s FolderView, Vec<u8>), Failure> {
    let absolute = normal(&here.join(path));
    let candidates = [Some(absolute.clone()), resolved(&absolute)];
    for candidate in candidates.iter().flatten() {
        if let Some((folder, rest)) = below(status, candidate)? {
            if rest.is_empty() {
                let name = crate::api::path::printable(&folder.name);
                let text = format!(
                    "{} is folder '{name}' itself: name an item in it, or see `landropic status`",
                    path.display()
                );
                return Err(Failure::Usage(text));
            }
            return Ok((folder, rest));
        }
    }
    match status.folders.as_slice() {
        [only] if path.is_relative() => Ok((only, path.as_os_str().as_bytes().to_vec())),
        folders => {
            let roots: Vec<_> = folders.iter().map(|f| f.root.display()).collect();
            let roots = if roots.is_empty() { "there is none".to_owned() } else { roots.join(", ") };
            Err(Failure::Usage(format!(
                "{} is in no folder of this device ({roots}): for a path inside a folder add --folder NAME",
                path.display()
            )))
        }
    }
}

/// The folder with the deepest root above `path`, and the rest of the path.
fn below<'s>(status: &'s StatusView, path: &Path) -> Result<Option<(&'s FolderView, Vec<u8>)>, Failure> {
    let mut best: Option<(usize, &FolderView, Vec<u8>)> = None;
    for folder in &status.folders {
        let root = folder.root.to_bytes().map_err(|e| Failure::Other(anyhow::anyhow!(e)))?;
        let root = normal(Path::new(OsStr::from_bytes(&root)));
        for root in [Some(root.clone()), resolved(&root)].iter().flatten() {
            let Ok(rest) = path.strip_prefix(root) else { continue };
            let depth = root.components().count();
            if best.as_ref().is_none_or(|(known, ..)| depth > *known) {
                best = Some((depth, folder, rest.as_os_str().as_bytes().to_vec()));
            }
        }
    }
    Ok(best.map(|(_, folder, rest)| (folder, rest)))
}

/// `path` without `.` and `..`, as text: nothing is looked up, since the item may be gone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(component),
        }
    }
    out
}

/// `path` with links in its nearest existing directory followed, but not the item itself, which may be a link.
fn resolved(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    let name = path.file_name()?;
    match parent.canonicalize() {
        Ok(real) => Some(real.join(name)),
        Err(_) => Some(resolved(parent)?.join(name)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(roots: &[&Path]) -> StatusView {
        let folder = |root: &&Path| FolderView {
            name: root.display().to_string(),
            root: JsonPath::from(root.as_os_str().as_bytes()),
            ..FolderView::default()
        };
        StatusView { folders: roots.iter().map(folder).collect(), ..StatusView::default() }
    }

    fn located(roots: &[&str], path: &str, here: &str) -> Option<(String, String)> {
        let status = status(&roots.iter().map(Path::new).collect::<Vec<_>>());
        let (folder, rest) = locate(&status, Path::new(path), Path::new(here)).ok()?;
        Some((folder.name.clone(), String::from_utf8(rest).unwrap()))
    }

    #[test]
    fn a_path_is_found_as_people_write_it() {
        let check = |path: &str, here: &str, want: Option<(&str, &str)>| {
            let want = want.map(|(f, p)| (f.to_owned(), p.to_owned()));
            assert_eq!(located(&["/s/a", "/s/a/deep", "/s/b"], path, here), want, "{path} from {here}");
        };
        check("/s/a/x/y", "/", Some(("/s/a", "x/y")));
        check("/s/a/deep/y", "/", Some(("/s/a/deep", "y")));
        check("x", "/s/b", Some(("/s/b", "x")));
        check("../b/./x", "/s/a", Some(("/s/b", "x")));
        check("/s/a", "/", None);
        check("/s/abc", "/", None);
        check("x", "/elsewhere", None);
    }

    #[test]
    fn with_one_folder_a_path_inside_it_is_enough() {
        assert_eq!(located(&["/s/a"], "x/y", "/elsewhere"), Some(("/s/a".into(), "x/y".into())));
        assert_eq!(located(&["/s/a"], "/x/y", "/elsewhere"), None);
    }

    #[test]
    fn a_folder_reached_through_a_link_is_found_and_a_link_in_it_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", real.join("out")).unwrap();
        let status = status(&[&real]);
        let find = |path: &str| locate(&status, &dir.path().join("link").join(path), Path::new("/")).unwrap().1;
        assert_eq!(find("out"), b"out");
        assert_eq!(find("gone/deeper"), b"gone/deeper");
    }
}
