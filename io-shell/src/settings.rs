//! Settings beyond flags: `settings.toml` in the home.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;

/// The file's name in the home.
pub const SETTINGS_FILE: &str = "settings.toml";

/// What a new home's settings say: every key with its default, commented out.
pub const TEMPLATE: &str = r#"# Settings of landropic. A line that starts with # is a comment: every key below has its default.
# Flags of the command line come before what stands here. Restart the daemon for a change to count.

# The name other devices know this one by: text. Default: the name the home has, at first the host's.
#device_name = "laptop"

# Where the daemon listens for other devices: an IP address and UDP port.
#listen = "0.0.0.0:9876"

# How long replaced and deleted files stay in a folder's trash: days, 0 to 36500.
#trash_max_age_days = 30

# How large a folder's trash may grow, oldest out first: bytes, or text such as "10 GiB" (B, KiB, MiB, GiB, TiB).
#trash_max_bytes = "10 GiB"

# How often every folder is scanned whole, whatever the watcher reports: seconds, 1 to 604800.
#rescan_interval_secs = 3600

# How long a changed file must rest before it is taken: milliseconds, 0 to 60000.
#settle_ms = 5

# What is logged: error, warn, info, debug or trace, or a filter such as "info,io_shell::net=debug".
# LANDROPIC_LOG, RUST_LOG and --verbose come first.
#log = "info"
"#;

/// Every setting, with its default where the file is silent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name other devices know this one by.
    pub device_name: Option<String>,
    /// Where the daemon listens.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Days a file stays in the trash.
    #[serde(deserialize_with = "whole::<_, 0, 36_500>")]
    pub trash_max_age_days: u64,
    /// Bytes a folder's trash may hold.
    #[serde(deserialize_with = "size")]
    pub trash_max_bytes: u64,
    /// Seconds between full scans.
    #[serde(deserialize_with = "whole::<_, 1, 604_800>")]
    pub rescan_interval_secs: u64,
    /// Milliseconds a changed file must rest.
    #[serde(deserialize_with = "whole::<_, 0, 60_000>")]
    pub settle_ms: u64,
    /// What is logged, as a filter of `tracing`.
    #[serde(deserialize_with = "log_filter")]
    pub log: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_name: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 9876)),
            trash_max_age_days: 30,
            trash_max_bytes: 10 << 30,
            rescan_interval_secs: 3_600,
            settle_ms: 5,
            log: None,
        }
    }
}

impl Settings {
    /// Reads the settings of `home`; a missing file means defaults.
    ///
    /// # Errors
    /// A file that cannot be read, or a wrong key or value, naming the file, the key and what is allowed.
    pub fn load(home: &Path) -> anyhow::Result<Self> {
        let path = home.join(SETTINGS_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => anyhow::bail!("the settings {} cannot be read: {e}", path.display()),
        };
        toml::from_str(&text).map_err(|e| {
            anyhow::anyhow!(
                "the settings {} are wrong: {}\ncorrect the line, or remove it to have the default",
                path.display(),
                e.to_string().trim_end()
            )
        })
    }

    /// Writes the template into `home`, unless settings are there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_template(home: &Path) -> anyhow::Result<()> {
        let path = home.join(SETTINGS_FILE);
        let written = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
        match written {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(anyhow::anyhow!("the settings {} cannot be written: {e}", path.display())),
        }
    }
}

/// The name of the host: what a device is called until its person says otherwise.
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    if name.is_empty() { "device".to_owned() } else { name }
}

fn whole<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(d: D) -> Result<u64, D::Error> {
    let found = i64::deserialize(d).map_err(|e| D::Error::custom(format!("{e}; allowed: {MIN} to {MAX}")))?;
    match u64::try_from(found) {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(D::Error::custom(format!("{found} is out of range; allowed: {MIN} to {MAX}"))),
    }
}

fn listen_address<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(d)?;
    let wrong = |_| D::Error::custom(format!("'{text}' is no IP address and port; allowed: such as \"0.0.0.0:9876\""));
    text.parse().map_err(wrong)
}

fn log_filter<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(d)?;
    let wrong =
        |e| D::Error::custom(format!("'{text}' is no log filter ({e}); allowed: such as \"info\" or \"debug\""));
    tracing_subscriber::EnvFilter::builder().parse(&text).map_err(wrong)?;
    Ok(Some(text))
}

fn size<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    d.deserialize_any(SizeVisitor)
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or text such as \"10 GiB\" with B, KiB, MiB, GiB or TiB")
    }

    fn visit_i64<E: serde::de::Error>(self, found: i64) -> Result<u64, E> {
        u64::try_from(found).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(found), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, found: u64) -> Result<u64, E> {
        Ok(found)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(SETTINGS_FILE), text).unwrap();
        Settings::load(home.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_home_without_settings_has_the_defaults() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(home.path()).unwrap(), Settings::default());
    }

    #[test]
    fn the_template_shows_every_default_and_changes_nothing() {
        assert_eq!(load(TEMPLATE).unwrap(), Settings::default());
        let keys: String = TEMPLATE.lines().filter_map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' '))).fold(
            String::new(),
            |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            },
        );
        let shown = load(&keys).unwrap();
        assert_eq!((shown.device_name.as_deref(), shown.log.as_deref()), (Some("laptop"), Some("info")));
        assert_eq!(Settings { device_name: None, log: None, ..shown }, Settings::default());
        assert_eq!(keys.lines().count(), 7);
    }

    #[test]
    fn the_template_never_replaces_settings() {
        let home = tempfile::tempdir().unwrap();
        Settings::write_template(home.path()).unwrap();
        assert_eq!(std::fs::read_to_string(home.path().join(SETTINGS_FILE)).unwrap(), TEMPLATE);
        std::fs::write(home.path().join(SETTINGS_FILE), "settle_ms = 7").unwrap();
        Settings::write_template(home.path()).unwrap();
        assert_eq!(Settings::load(home.path()).unwrap().settle_ms, 7);
    }

    #[test]
    fn sizes_are_bytes_or_text_with_a_unit() {
        let check =
            |text: &str, want| assert_eq!(load(&format!("trash_max_bytes = {text}")).unwrap().trash_max_bytes, want);
        check("0", 0);
        check("1234", 1234);
        check("\"5 B\"", 5);
        check("\"2GiB\"", 2 << 30);
        check("\"1 TiB\"", 1 << 40);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_key_and_what_is_allowed() {
        let check = |text: &str, words: &[&str]| {
            let error = load(text).unwrap_err();
            for word in [&["settings.toml"], words].concat() {
                assert!(error.contains(word), "{word:?} is not in: {error}");
            }
        };
        check("trash_max = 3", &["trash_max", "expected one of", "trash_max_bytes"]);
        check("settle_ms = -1", &["settle_ms", "0 to 60000"]);
        check("rescan_interval_secs = \"hourly\"", &["rescan_interval_secs", "1 to 604800"]);
        check("trash_max_bytes = \"10 GB\"", &["trash_max_bytes", "GiB"]);
        check("trash_max_bytes = -1", &["trash_max_bytes", "number of bytes"]);
        check("listen = \"here\"", &["listen", "0.0.0.0:9876"]);
        check("log = \"a=b=c\"", &["log", "allowed"]);
        check("device_name", &["line 1"]);
    }
}
