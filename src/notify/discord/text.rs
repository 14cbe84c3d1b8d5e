//! Foreign text as it may stand in a message: without what breaks the layout, and within a limit.

use std::borrow::Cow;

/// What is cut off a text stands for this.
const CUT: char = '…';

/// No more of a text than this is looked at; a whole message holds 6000 characters.
const LONGEST_READ: usize = 20_000;

/// A text of several lines, at most so many characters long.
pub(super) fn paragraph(text: &str, most: usize) -> String {
    let kept = text.chars().take(LONGEST_READ).filter_map(|character| match character {
        '\n' | '\u{2028}' | '\u{2029}' => Some('\n'),
        _ => tame(character),
    });
    cut(kept.collect::<String>().trim(), most)
}

/// A text of one line, at most so many characters long.
pub(super) fn line(text: &str, most: usize) -> String {
    let kept = text.chars().take(LONGEST_READ).filter_map(|character| match character {
        '\n' | '\u{2028}' | '\u{2029}' => Some(' '),
        _ => tame(character),
    });
    cut(kept.collect::<String>().trim(), most)
}

/// The same character, where it is one that is seen and that leaves the order of its neighbours alone.
fn tame(character: char) -> Option<char> {
    match character {
        '\t' => Some(' '),
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        _ if character.is_control() => None,
        _ => Some(character),
    }
}

/// At most so many characters of a text, with a mark where something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    if count(text) <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    let mut kept = kept.trim_end().to_owned();
    if most > 0 {
        kept.push(CUT);
    }
    kept
}

/// The length that Discord counts: characters, without white space around them.
pub(super) fn count(text: &str) -> usize {
    text.trim().chars().count()
}

/// The same text where Markdown means nothing, within a line that has begun. Mentions stay as they are:
/// they are harmless, because a message says whom it may ping.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    const MEANT: &[char] = &['\\', '*', '_', '~', '`', '|', '[', ']'];
    if !text.contains(MEANT) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if MEANT.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    Cow::Owned(escaped)
}

/// A label as code, in which nothing else than its end means anything.
pub(super) fn code(name: &str, value: &str, most: usize) -> String {
    let inside = line(&format!("{name}={value}"), most).replace('`', "'");
    format!("`{inside}`")
}

/// As many of the parts as there is room for, with a separator between them, and how many those are.
/// Where they do not all fit, the end says how many are missing, in the words of `more`.
pub(super) fn gather(
    parts: impl Iterator<Item = String>,
    total: usize,
    separator: &str,
    room: usize,
    more: impl Fn(usize) -> String,
) -> (String, usize) {
    let between = separator.chars().count();
    let mut taken: Vec<(String, usize)> = Vec::new();
    let mut used = 0;
    for part in parts {
        let length = part.chars().count() + if taken.is_empty() { 0 } else { between };
        if used + length > room {
            break;
        }
        used += length;
        taken.push((part, length));
    }
    let mut ending = None;
    while taken.len() < total {
        let words = more(total - taken.len());
        let length = words.chars().count() + if taken.is_empty() { 0 } else { between };
        if used + length <= room {
            ending = Some(words);
            break;
        }
        let Some((_, length)) = taken.pop() else { return (cut(&words, room), 0) };
        used -= length;
    }
    let fitting = taken.len();
    let parts: Vec<String> = taken.into_iter().map(|(part, _)| part).chain(ending).collect();
    (parts.join(separator), fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_only_where_it_is_too_long() {
        for character in ["a", "ş", "İ", "🔥", "字"] {
            for (length, most) in [(255, 256), (256, 256), (257, 256), (1, 1), (2, 1), (5000, 4096)] {
                let text = cut(&character.repeat(length), most);
                assert_eq!(text.chars().count(), length.min(most), "{character} {length} {most}");
                assert_eq!(text.ends_with('…'), length > most, "{character} {length} {most}");
            }
        }
        assert_eq!(cut("bir iki", 5), "bir…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn what_is_not_seen_or_turns_the_order_round_goes() {
        for (text, one_line, lines) in [
            ("  İyi günler 🔥 ", "İyi günler 🔥", "İyi günler 🔥"),
            ("a\nb\tc", "a b c", "a\nb c"),
            ("a\r\nb\u{2028}c", "a b c", "a\nb\nc"),
            ("\u{7}a\u{0}b\u{1b}[31m \u{9f}", "ab[31m", "ab[31m"),
            ("\u{202e}abc\u{202c} \u{2066}d\u{2069}\u{200f}\u{200e}\u{61c}", "abc d", "abc d"),
            ("\u{7} \u{202e}\u{200f}", "", ""),
            ("👩\u{200d}🔧", "👩\u{200d}🔧", "👩\u{200d}🔧"),
        ] {
            assert_eq!((line(text, 100).as_str(), paragraph(text, 100).as_str()), (one_line, lines), "{text:?}");
        }
        assert_eq!(line(&"x".repeat(5_000_000), 256).chars().count(), 256);
    }

    #[test]
    fn markdown_means_nothing_where_it_would_break_a_line() {
        for (text, expected) in [
            ("HighLoad", "HighLoad"),
            ("**bold** _x_ ~~y~~ ||z||", r"\*\*bold\*\* \_x\_ \~\~y\~\~ \|\|z\|\|"),
            ("[a](http://b)", r"\[a\](http://b)"),
            ("a`b\\", r"a\`b\\"),
            ("@everyone <@123> <@&4>", "@everyone <@123> <@&4>"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert_eq!(code("job", "a`b`\nc", 100), "`job=a'b' c`");
        assert_eq!(code("job", &"ş".repeat(50), 10), "`job=şşşşş…`");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let more = |rest| format!("and {rest} more");
        for (parts, room, expected) in [
            (&[] as &[&str], 10, ""),
            (&["aaa", "bbb"], 8, "aaa, bbb"),
            (&["aaa", "bbb"], 7, "and 2…"),
            (&["aaa", "bbbbbbbbbbbb", "c"], 15, "aaa, and 2 more"),
            (&["aaa", "bbbbbbbbbbbb", "c"], 14, "and 3 more"),
            (&["aaaaaaaaaaaaaaaaaaaa"], 10, "and 1 more"),
            (&["şşş", "ğğğğğğğğğğğğ", "c"], 15, "şşş, and 2 more"),
        ] {
            let (text, _) = gather(parts.iter().map(|&part| part.to_owned()), parts.len(), ", ", room, more);
            assert_eq!(text, expected, "{parts:?} {room}");
        }
    }
}
