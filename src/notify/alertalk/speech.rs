//! Makes text speakable: no emoji, Markdown, URL or control character, and numbers, units and signs as
//! words of the language.
//!
//! What comes out is letters, digits, spaces and the punctuation that a voice makes pauses of; whatever
//! is not known to be speakable is left out.

use super::sayings::{self, Unit};
use super::{digits, markup};
use crate::notify::words::Language;

/// Alertalk reads so many characters and no more.
pub(super) const LONGEST: usize = 500;

/// A text as it is said. It is empty where nothing in it can be said, and of any length.
pub(super) fn speakable(text: &str, language: Language) -> String {
    let text = markup::plain(text);
    let mut speaker = Speaker { text: &text, at: 0, language, said: String::new() };
    while let Some(c) = speaker.peek(0) {
        speaker.say(c);
    }
    tidy(&speaker.said)
}

/// A text of at most `most` characters, which ends with a whole word where there is one.
pub(super) fn cut(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let Some(kept) = chars.get(..most).filter(|kept| kept.len() < chars.len()) else { return text.to_owned() };
    let whole = chars.get(most).is_some_and(|next| next.is_whitespace());
    let last_space = kept.iter().rposition(|c| c.is_whitespace()).filter(|_| !whole);
    let kept: String = kept.iter().take(last_space.unwrap_or(most)).collect();
    kept.trim_end_matches(|c: char| c.is_whitespace() || ",:-'".contains(c)).to_owned()
}

/// A name such as `SolveErrorSpike` with spaces between its words; `CaptchaAI` is one.
pub(super) fn spaced(name: &str) -> String {
    const OUR_NAME: &str = "CaptchaAI";
    let parts: Vec<String> = name.split(OUR_NAME).map(spaced_at_capitals).collect();
    parts.join(&format!(" {OUR_NAME} ")).trim().to_owned()
}

fn spaced_at_capitals(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut spaced = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let ends_word = before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit());
        let ends_initials = before.is_some_and(|before| before.is_uppercase())
            && chars.get(at + 1).is_some_and(|after| after.is_lowercase());
        if c.is_uppercase() && (ends_word || ends_initials) {
            spaced.push(' ');
        }
        spaced.push(c);
    }
    spaced
}

struct Speaker<'t> {
    text: &'t [char],
    at: usize,
    language: Language,
    said: String,
}

impl<'t> Speaker<'t> {
    /// The character so far ahead.
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn before(&self) -> Option<char> {
        self.at.checked_sub(1).and_then(|at| self.text.get(at)).copied()
    }

    fn rest(&self) -> &'t [char] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes `length` characters, for which `words` are said.
    fn replace(&mut self, length: usize, words: &str) {
        self.at += length;
        self.said.push(' ');
        self.said.push_str(words);
        self.said.push(' ');
    }

    /// Takes a character, for which this is said and nothing else.
    fn put(&mut self, c: char) {
        self.at += 1;
        self.said.push(c);
    }

    /// Says what begins at the next character, `c`, and goes on behind it.
    fn say(&mut self, c: char) {
        match c {
            _ if c.is_ascii_digit() => self.number(),
            _ if is_letter(c) => self.word(),
            '\n' | '…' => self.replace(1, "."),
            '!' if self.peek(1) == Some('=') => self.sign(),
            '.' | ',' | ':' | '!' | '?' => self.put(c),
            ';' | '|' | '·' | '•' | '→' => self.replace(1, ","),
            '\'' | '’' | '‘' => self.apostrophe(),
            '-' | '−' | '–' | '—' if !self.rest().starts_with(&['-', '>']) => self.dash(),
            '/' => self.slash(),
            '(' | ')' => self.parenthesis(c),
            '~' | '≈' => self.tilde(),
            _ if is_invisible(c) => self.at += 1,
            // Emphasis may begin or end inside of a word.
            '*' | '`' if !self.is_between(|c| c.is_ascii_digit()) => self.at += 1,
            _ => self.sign(),
        }
    }

    fn is_between(&self, is: impl Fn(char) -> bool) -> bool {
        self.before().is_some_and(&is) && self.peek(1).is_some_and(&is)
    }

    /// A word goes on to the first character that is neither letter nor digit, but for the dots of a
    /// version such as `v1.2.3`.
    fn word(&mut self) {
        let letters: String = self.rest().iter().take_while(|c| is_letter(**c)).collect();
        if let Some((unit, length)) = self.unit_before(&letters) {
            return self.number_of(unit, length);
        }
        while let Some(c) = self.peek(0) {
            if c == '.' && self.is_between(|c| c.is_ascii_digit()) {
                self.replace(1, sayings::dot(self.language));
            } else if is_letter(c) || c.is_ascii_digit() || is_accent(c) {
                self.put(c);
            } else {
                break;
            }
        }
    }

    fn number(&mut self) {
        let number = self.quantity();
        match self.unit() {
            Some((unit, length)) => {
                let words = unit.said_with(&number, self.language);
                self.replace(length, &words);
                self.join_ending();
            }
            None => self.said.push_str(&number),
        }
    }

    /// Takes a number, and says nothing yet.
    fn quantity(&mut self) -> String {
        let literal = digits::literal(self.rest());
        self.at += literal.len();
        let number = digits::said(&literal.iter().collect::<String>(), self.language);
        let ends = !self.peek(1).is_some_and(is_letter);
        match self.peek(0).filter(|_| ends).and_then(|letter| sayings::magnitude(letter, self.language)) {
            Some(magnitude) => {
                self.at += 1;
                format!("{number} {magnitude}")
            }
            None => number,
        }
    }

    /// What is added to a word with an apostrophe belongs to it.
    fn join_ending(&mut self) {
        if matches!(self.peek(0), Some('\'' | '’')) {
            self.said.truncate(self.said.trim_end().len());
        }
    }

    /// The unit that follows, and how many characters it and the space before it have.
    fn unit(&self) -> Option<(Unit, usize)> {
        let spaces = usize::from(matches!(self.peek(0), Some(' ' | '\u{a0}')));
        let rest = self.rest().get(spaces..)?;
        let symbol = rest.first().filter(|c| !is_letter(**c) && !c.is_ascii_digit());
        let letters = rest.iter().skip(usize::from(symbol.is_some())).take_while(|c| is_letter(**c));
        let whole: String = symbol.into_iter().chain(letters).collect();
        let candidates = [Some(whole), symbol.map(ToString::to_string)];
        candidates
            .into_iter()
            .flatten()
            .find_map(|written| Some((Unit::behind(&written, spaces > 0)?, spaces + written.chars().count())))
    }

    /// The unit that is written like this, where a number follows it; and how many characters it and the
    /// space behind it have.
    fn unit_before(&self, written: &str) -> Option<(Unit, usize)> {
        let length = written.chars().count();
        let spaces = usize::from(self.peek(length) == Some(' '));
        self.peek(length + spaces).filter(char::is_ascii_digit)?;
        let begins = !self.before().is_some_and(|c| is_letter(c) || c.is_ascii_digit());
        begins.then(|| Unit::before(written)).flatten().map(|unit| (unit, length + spaces))
    }

    /// Says the number that follows a unit of so many characters. The same unit behind it is not said
    /// again.
    fn number_of(&mut self, unit: Unit, length: usize) {
        self.at += length;
        let number = self.quantity();
        if let Some((_, length)) = self.unit().filter(|(again, _)| *again == unit) {
            self.at += length;
        }
        let words = unit.said_with(&number, self.language);
        self.replace(0, &words);
        self.join_ending();
    }

    fn apostrophe(&mut self) {
        if self.is_between(|c| is_letter(c) || c.is_ascii_digit() || c == '%') { self.put('\'') } else { self.at += 1 }
    }

    fn dash(&mut self) {
        let begins = !self.before().is_some_and(|c| c.is_alphanumeric() || c == ')' || c == '-');
        if begins && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.replace(1, sayings::minus(self.language));
        } else if self.is_between(|c| is_letter(c) || c.is_ascii_digit()) {
            self.put('-');
        } else {
            self.replace(1, ",");
        }
    }

    fn slash(&mut self) {
        let unit: String = self.rest().iter().skip(1).take_while(|c| is_letter(**c)).collect();
        let follows = self.before().is_some_and(|c| c.is_alphanumeric() || c == '$');
        if let Some(words) = sayings::rate(&unit, self.language).filter(|_| follows) {
            return self.replace(1 + unit.chars().count(), words);
        }
        let words = if self.is_fraction() { sayings::of(self.language) } else { "" };
        self.replace(1, words);
    }

    /// Whether the slash here is the only one between two numbers: dates have two.
    fn is_fraction(&self) -> bool {
        let of_date = |c: &&char| c.is_ascii_digit() || **c == '/';
        let slashes = |chars: Vec<&char>| chars.into_iter().filter(|c| **c == '/').count();
        let behind = self.rest().iter().skip(1).take_while(of_date).collect();
        let before = self.text.iter().take(self.at).rev().take_while(of_date).collect();
        self.is_between(|c| c.is_ascii_digit()) && slashes(behind) + slashes(before) == 0
    }

    /// What is in parentheses is set off by pauses, unless it is the end of a word, as in `alert(s)`.
    fn parenthesis(&mut self, c: char) {
        let opening = match c {
            '(' => Some(self.at),
            _ => self.text.iter().take(self.at).rposition(|&c| c == '('),
        };
        let before = opening.and_then(|at| self.text.get(at.checked_sub(1)?));
        let touches = before.is_some_and(|c| c.is_alphanumeric());
        self.replace(1, if touches { "" } else { "," });
    }

    fn tilde(&mut self) {
        let number = self.peek(1).is_some_and(|c| c.is_ascii_digit());
        let words = if number { sayings::about(self.language) } else { "" };
        self.replace(1, words);
    }

    /// A sign that is said, or one that is not.
    fn sign(&mut self) {
        let written = self.peek(0).map(|c| c.to_string()).unwrap_or_default();
        if let Some((unit, length)) = self.unit_before(&written) {
            return self.number_of(unit, length);
        }
        match sayings::sign(self.rest(), self.language) {
            Some((length, words)) => self.replace(length, words),
            None => self.replace(1, ""),
        }
    }
}

/// A letter of a script. Letters that are pictures, in circles or squares for instance, are none.
fn is_letter(c: char) -> bool {
    let of_a_script = matches!(c, '\0'..='\u{1fff}' | '\u{2c00}'..='\u{2dff}' | '\u{3040}'..='\u{fdff}');
    // The sign of degrees is written with the ordinal indicator as well.
    c.is_alphabetic() && of_a_script && !matches!(c, 'º' | 'ª')
}

/// Marks that are written on the letter before them.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Characters that change how others look and are nothing themselves.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
        || is_accent(c)
}

/// One space between words, one mark where there are several, no space before one, and none at the
/// beginning.
fn tidy(said: &str) -> String {
    let strength = |c: char| match c {
        '.' | '!' | '?' => 3,
        ':' => 2,
        _ => 1,
    };
    let mut text = String::new();
    let (mut mark, mut space): (Option<char>, bool) = (None, false);
    for c in said.chars() {
        if c.is_whitespace() {
            space = true;
        } else if ".!?:,".contains(c) {
            mark = Some(mark.filter(|mark| strength(*mark) >= strength(c)).unwrap_or(c));
        } else {
            if !text.is_empty() {
                text.extend(mark);
                // A mark between two characters, as in 10:30, stays there.
                text.extend(space.then_some(' '));
            }
            text.push(c);
            (mark, space) = (None, false);
        }
    }
    if !text.is_empty() {
        text.extend(mark.filter(|mark| strength(*mark) == 3));
    }
    text
}

#[cfg(test)]
mod tests;
