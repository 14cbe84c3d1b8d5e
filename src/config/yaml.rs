//! YAML as a tree in which every node knows where it stands.
//!
//! The tree is built from the parser's events and not through serde: a number that is really an API key
//! keeps its text, repeated keys stay visible, and one wrong value does not hide the next.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::fault::Position;

/// Nesting that a configuration never needs; what recurses over the tree relies on it.
const MAX_DEPTH: usize = 32;

const TOO_DEEP: &str = "is nested too deep; expected at most 32 levels";

/// Memory that the tree may take, about, with every alias expanded.
const MAX_BYTES: usize = 16 * 1024 * 1024;

const EXPECTED: &str = "expected KEY: VALUE lines, with quotes around text that has special characters";

/// A node of the file. It has no `Debug`: it may hold secrets.
#[derive(Clone)]
pub(super) struct Node {
    /// Where it stands; for what an alias stands for, where that is written.
    pub(super) position: Position,
    /// What it is.
    pub(super) value: Value,
}

impl Node {
    /// The document of an empty file.
    fn empty() -> Self {
        Self { position: Position::START, value: Value::Null }
    }
}

/// What a node is.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// The text of anything else that is neither list nor mapping, as it is written.
    Scalar(String),
    /// The items.
    List(Vec<Node>),
    /// The keys and their values, in the order of the file, repeated keys too.
    Map(Vec<(Node, Node)>),
}

/// Why a text is no usable YAML. The message holds nothing of the text, which may be a secret.
pub(super) struct SyntaxError {
    pub(super) position: Position,
    pub(super) message: String,
}

/// Reads a file of one document, which may be empty.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { parser, anchors: HashMap::new(), bytes: 0 };
    let mut document = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => return Ok(document.unwrap_or_else(Node::empty)),
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            _ if document.is_some() => {
                return Err(error_at(&span, "is a second document; expected only one"));
            }
            event => document = Some(builder.node(event, &span, 0)?.node),
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Subtree>,
    bytes: usize,
}

/// A node with what it takes to copy it.
#[derive(Clone)]
struct Subtree {
    node: Node,
    extent: Extent,
}

#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    /// Levels below the node.
    height: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The node that begins with `event`, `depth` levels below the root.
    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Subtree, SyntaxError> {
        if let Event::Alias(anchor) = event {
            return self.copy(anchor, span, depth);
        }
        let mut extent = Extent { bytes: size_of::<Node>(), height: 0 };
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                extent.bytes += text.len();
                self.take(extent.bytes, span)?;
                (anchor, scalar(&text, style, tag.as_deref(), span)?)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.take(extent.bytes, span)?;
                refuse_tag(tag.as_deref(), "seq", span)?;
                (anchor, Value::List(self.items(span, depth, &mut extent)?))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.take(extent.bytes, span)?;
                refuse_tag(tag.as_deref(), "map", span)?;
                (anchor, Value::Map(self.entries(span, depth, &mut extent)?))
            }
            _ => return Err(error_at(span, "is not YAML that is understood here")),
        };
        let subtree = Subtree { node: Node { position: position(span), value }, extent };
        if anchor != 0 {
            self.take(extent.bytes, span)?;
            self.anchors.insert(anchor, subtree.clone());
        }
        Ok(subtree)
    }

    fn items(&mut self, start: &Span, depth: usize, extent: &mut Extent) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(items);
            }
            items.push(self.child(event, &span, start, depth, extent)?);
        }
    }

    fn entries(&mut self, start: &Span, depth: usize, extent: &mut Extent) -> Result<Vec<(Node, Node)>, SyntaxError> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(entries);
            }
            let key = self.child(event, &span, start, depth, extent)?;
            let (event, span) = self.next()?;
            let value = self.child(event, &span, start, depth, extent)?;
            entries.push((key, value));
        }
    }

    fn child(
        &mut self,
        event: Event<'t>,
        span: &Span,
        parent: &Span,
        depth: usize,
        extent: &mut Extent,
    ) -> Result<Node, SyntaxError> {
        if depth >= MAX_DEPTH {
            return Err(error_at(parent, TOO_DEEP));
        }
        let child = self.node(event, span, depth + 1)?;
        extent.bytes += child.extent.bytes;
        extent.height = extent.height.max(child.extent.height + 1);
        Ok(child.node)
    }

    fn copy(&mut self, anchor: usize, span: &Span, depth: usize) -> Result<Subtree, SyntaxError> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(error_at(span, "is an alias inside of what it stands for"));
        };
        if depth + target.extent.height > MAX_DEPTH {
            return Err(error_at(span, TOO_DEEP));
        }
        let copy = target.clone();
        self.take(copy.extent.bytes, span)?;
        Ok(copy)
    }

    fn take(&mut self, bytes: usize, span: &Span) -> Result<(), SyntaxError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(error_at(span, "is too much: with its aliases expanded the file takes over 16 MiB"));
        }
        Ok(())
    }
}

/// The value of a scalar. Only plain text can mean null; every other type is for the reader of the key.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, SyntaxError> {
    refuse_tag(tag, "str", span)?;
    let plain = style == ScalarStyle::Plain && tag.is_none();
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(Value::Null);
    }
    Ok(Value::Scalar(text.to_owned()))
}

/// A tag asks for a type, and a key has its own type already. What a plain `!` begins may well be a
/// password, so the tag is not shown.
fn refuse_tag(tag: Option<&Tag>, own: &str, span: &Span) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(own) => {
            Err(error_at(span, "has a tag (text with ! in front); expected none, or quotes if the ! is meant"))
        }
        _ => Ok(()),
    }
}

fn error_at(span: &Span, message: &str) -> SyntaxError {
    SyntaxError { position: position(span), message: message.to_owned() }
}

fn position(span: &Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

/// The parser's messages are fixed texts, so no part of the file is in them.
fn syntax_error(error: &ScanError) -> SyntaxError {
    let message = match error.kind() {
        ErrorKind::RecursionLimitExceeded => TOO_DEEP.to_owned(),
        ErrorKind::UnknownAnchor => {
            "is an alias (text with * in front) of nothing; expected an anchor before it, or quotes if the * is meant"
                .to_owned()
        }
        _ => format!("is not valid YAML: {}; {EXPECTED}", error.info()),
    };
    let at = error.marker();
    SyntaxError { position: Position { line: at.line().max(1), column: at.col() + 1 }, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree on one line, every scalar and collection with its position.
    fn shown(node: &Node) -> String {
        let Position { line, column } = node.position;
        let join = |parts: Vec<String>| parts.join(" ");
        let value = match &node.value {
            Value::Null => "null".to_owned(),
            Value::Scalar(text) => format!("{text:?}"),
            Value::List(items) => format!("[{}]", join(items.iter().map(shown).collect())),
            Value::Map(entries) => {
                let entry = |(key, value): &(Node, Node)| format!("{}={}", shown(key), shown(value));
                format!("{{{}}}", join(entries.iter().map(entry).collect()))
            }
        };
        format!("{line}:{column}{value}")
    }

    fn check(text: &str, expected: &str) {
        let found = match parse(text) {
            Ok(node) => shown(&node),
            Err(error) => format!("{}:{} {}", error.position.line, error.position.column, error.message),
        };
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn every_node_has_its_text_and_its_place() {
        check("", "1:1null");
        check("# nothing\n", "1:1null");
        check("---\n", "1:4null");
        check("a: 1\nb:\n  - x\n  - {c: d}\n", r#"1:1{1:1"a"=1:4"1" 2:1"b"=3:3[3:5"x" 4:5{4:6"c"=4:9"d"}]}"#);
        check("şş: [é, y]\r\nz: 2\r\n", r#"1:1{1:1"şş"=1:5[1:6"é" 1:9"y"] 2:1"z"=2:4"2"}"#);
        check("\u{feff}a: b", r#"1:1{1:1"a"=1:4"b"}"#);
        check("a: 1\na: 2\n", r#"1:1{1:1"a"=1:4"1" 2:1"a"=2:4"2"}"#);
    }

    #[test]
    fn only_plain_text_is_null() {
        check("[~, null, Null, NULL, ]", "1:1[1:2null 1:5null 1:11null 1:17null]");
        check(r#"["~", 'null', "", !!str null]"#, r#"1:1[1:2"~" 1:7"null" 1:15"" 1:25"null"]"#);
        check(
            "[nULL, .nan, 0x10, 1e3, 007, yes]",
            r#"1:1[1:2"nULL" 1:8".nan" 1:14"0x10" 1:20"1e3" 1:25"007" 1:30"yes"]"#,
        );
    }

    #[test]
    fn an_alias_is_where_its_anchor_is() {
        check("a: &x [1]\nb: *x\n", r#"1:1{1:1"a"=1:7[1:8"1"] 2:1"b"=1:7[1:8"1"]}"#);
        check("a: &x 1\nb: &x 2\nc: *x\n", r#"1:1{1:1"a"=1:7"1" 2:1"b"=2:7"2" 3:1"c"=2:7"2"}"#);
    }

    #[test]
    fn nesting_ends_at_the_limit_whatever_makes_it() {
        let flow = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&flow(MAX_DEPTH)).is_ok());
        assert!(parse(&flow(MAX_DEPTH + 1)).is_err());
        let tower = |depth: usize| {
            let floor = |level| format!("- &a{level} [*a{}]\n", level - 1);
            let floors: Vec<_> = (1..depth).map(floor).collect();
            format!("- &a0 [x]\n{}", floors.concat())
        };
        assert!(parse(&tower(MAX_DEPTH - 1)).is_ok());
        assert!(parse(&tower(MAX_DEPTH + 1)).is_err());
        assert!(parse(&tower(100_000)).is_err());
    }

    #[test]
    fn aliases_cannot_take_all_memory() {
        let text = "x".repeat(1024);
        let copies = |count| format!("- &a {text}\n{}", "- *a\n".repeat(count));
        assert!(parse(&copies(10_000)).is_ok());
        assert!(parse(&copies(16_000)).is_err());
        let anchors: Vec<_> = (0..32).map(|level| format!("&a{level} [")).collect();
        let retained = format!("{}{text}{}", anchors.concat(), "]".repeat(32));
        assert!(parse(&retained).is_ok());
    }
}
