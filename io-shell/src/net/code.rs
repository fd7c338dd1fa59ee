//! One-time codes, as people read them to each other: `37-lamp-frog-tile`.

use crate::world::Net;
use std::fmt;

/// Every word has four letters, so that a code can be read whatever is between the words.
const WORD_LEN: usize = 4;
/// Words of the secret.
const SECRET_WORDS: usize = 3;
/// What a code looks like, for people.
const EXAMPLE: &str = "a code looks like 37-lamp-frog-tile";
/// Nameplates are 1 to this.
pub(super) const MAX_NAMEPLATE: u8 = 99;

/// A nameplate, which is public, and a secret of 24 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    nameplate: u8,
    secret: [u8; SECRET_WORDS],
}

/// Why a text is no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a code: {reason}; {EXAMPLE}, and it is shown by 'landropic invite' on the other device")]
pub struct CodeError {
    reason: String,
}

impl Code {
    /// A code with a fresh secret.
    pub(super) fn draw(nameplate: u8, net: &dyn Net) -> Self {
        let mut secret = [0; SECRET_WORDS];
        net.fill_random(&mut secret);
        Self { nameplate, secret }
    }

    /// Reads a code; case, spaces and dashes do not matter.
    ///
    /// # Errors
    /// Which part is missing or unknown.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let bare: String = text.chars().filter(|c| !is_separator(*c)).collect::<String>().to_lowercase();
        let digits = bare.find(|c: char| !c.is_ascii_digit()).unwrap_or(bare.len());
        let (number, words) = bare.split_at(digits);
        let nameplate = number.parse().ok().filter(|n| (1..=MAX_NAMEPLATE).contains(n));
        let nameplate =
            nameplate.ok_or_else(|| error(format!("it must start with a number from 1 to {MAX_NAMEPLATE}")))?;
        if !words.is_ascii() || words.len() != SECRET_WORDS * WORD_LEN {
            return Err(error(format!("{SECRET_WORDS} words of {WORD_LEN} letters must follow the number")));
        }
        let mut secret = [0; SECRET_WORDS];
        for (byte, word) in secret.iter_mut().zip(words.as_bytes().chunks(WORD_LEN)) {
            *byte = byte_of(word)?;
        }
        Ok(Self { nameplate, secret })
    }

    /// The public part.
    pub fn nameplate(&self) -> u8 {
        self.nameplate
    }

    /// The secret part.
    pub(super) fn secret(&self) -> [u8; SECRET_WORDS] {
        self.secret
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.nameplate)?;
        self.secret.iter().try_for_each(|byte| write!(f, "-{}", WORDS[usize::from(*byte)]))
    }
}

/// Logs are no place for secrets.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({}-…)", self.nameplate)
    }
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '_' | '.' | ',' | '\u{2010}'..='\u{2015}')
}

fn byte_of(word: &[u8]) -> Result<u8, CodeError> {
    let place = WORDS.binary_search_by(|known| known.as_bytes().cmp(word)).ok();
    let unknown = || error(format!("{:?} is not one of its words", String::from_utf8_lossy(word)));
    place.and_then(|place| u8::try_from(place).ok()).ok_or_else(unknown)
}

fn error(reason: String) -> CodeError {
    CodeError { reason }
}

/// Short, common, and not easily taken for each other when spoken. In ascending order.
#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "acid", "arch", "army", "atom", "axis", "baby", "bake", "ball", "band", "bank", "barn", "base", "bath", "bean",
    "bell", "belt", "bend", "bike", "bird", "blue", "boat", "body", "bolt", "bone", "book", "boot", "bowl", "bulb",
    "bush", "cafe", "cage", "cake", "calm", "camp", "card", "cart", "cash", "cave", "chef", "city", "clay", "clip",
    "club", "coal", "coat", "code", "coin", "cold", "cook", "cool", "copy", "cork", "corn", "cove", "crab", "crew",
    "cube", "dart", "dawn", "desk", "dice", "dish", "dive", "dock", "doll", "door", "dove", "draw", "drum", "duck",
    "dune", "dusk", "dust", "earn", "east", "easy", "echo", "edge", "epic", "exit", "face", "fact", "farm", "fast",
    "fern", "film", "fire", "fish", "flag", "flat", "foam", "fold", "folk", "food", "fort", "frog", "fuel", "gain",
    "gate", "gift", "glad", "glow", "glue", "goat", "gold", "golf", "gown", "gray", "grid", "grip", "gulf", "half",
    "hand", "harp", "hawk", "heat", "herb", "hero", "hike", "hill", "hive", "hope", "horn", "icon", "idea", "iron",
    "isle", "jade", "jazz", "joke", "jump", "jury", "kelp", "king", "kite", "lady", "lake", "lamb", "lamp", "land",
    "lava", "lawn", "leaf", "lens", "lily", "lime", "lion", "list", "loaf", "lock", "loft", "logo", "long", "loop",
    "luck", "lung", "mask", "maze", "meal", "melt", "menu", "mild", "milk", "mill", "mint", "mist", "moon", "moss",
    "moth", "myth", "nail", "navy", "nest", "nine", "noon", "note", "oval", "oven", "pack", "page", "palm", "park",
    "path", "pick", "pine", "pink", "pipe", "plan", "play", "plum", "poem", "pond", "pony", "pool", "port", "puma",
    "pump", "quiz", "race", "raft", "rain", "reef", "rice", "ring", "robe", "rock", "roof", "room", "root", "rope",
    "rose", "ruby", "rush", "sage", "salt", "sand", "seal", "seed", "ship", "shoe", "silk", "sink", "snow", "soap",
    "sofa", "soil", "song", "soup", "star", "stew", "suit", "swan", "taxi", "team", "tent", "tide", "tile", "tree",
    "tuna", "vase", "vest", "view", "vine", "wall", "wave", "wind", "wing", "wolf", "wool", "yard", "yarn", "yoga",
    "zero", "zinc", "zone", "zoom",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_words_are_distinct_sorted_and_of_one_length() {
        assert!(WORDS.is_sorted_by(|a, b| a < b));
        assert!(WORDS.iter().all(|w| w.len() == WORD_LEN && w.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn every_secret_prints_and_parses_back() {
        for byte in 0..=255 {
            let code = Code { nameplate: byte % 99 + 1, secret: [byte, 255 - byte, 7] };
            assert_eq!(Code::parse(&code.to_string()).unwrap(), code);
        }
    }

    #[test]
    fn case_spaces_and_dashes_do_not_matter() {
        let code = Code::parse("37-lamp-frog-tile").unwrap();
        assert_eq!(code.nameplate(), 37);
        for text in ["37 LAMP Frog tile", "37lampfrogtile", "  37 - lamp -- frog–tile \n", "37_lamp.frog,tile"] {
            assert_eq!(Code::parse(text).unwrap(), code, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_code_is_said() {
        let check = |text: &str, part: &str| {
            let error = Code::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("37-lamp-frog-tile"), "{text}: {error}");
        };
        check("", "number from 1 to 99");
        check("lamp-frog-tile", "number from 1 to 99");
        check("0-lamp-frog-tile", "number from 1 to 99");
        check("100-lamp-frog-tile", "number from 1 to 99");
        check("37-lamp-frog", "3 words of 4 letters");
        check("37-lämp-frog-tile", "3 words of 4 letters");
        check("37-lamp-qqqq-tile", "\"qqqq\" is not one of its words");
    }

    #[test]
    fn a_secret_is_not_logged() {
        assert_eq!(format!("{:?}", Code::parse("37-lamp-frog-tile").unwrap()), "Code(37-…)");
    }
}
