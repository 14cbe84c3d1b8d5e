//! The words of messages and calls, as macros of templates. Each notifier has a template for every
//! language; a file of the user's may define some of the macros anew.

use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, UndefinedBehavior};
use serde::Serialize;

/// The languages of the built-in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Turkish.
    Turkish,
}

impl Language {
    /// Reads `en` or `tr`.
    pub fn parse(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::English),
            "tr" => Some(Self::Turkish),
            _ => None,
        }
    }
}

/// What a macro may compute before it is stopped, in minijinja's units.
const FUEL: u64 = 200_000;

const BUILT_IN: &str = "built-in";

/// What is wrong with a template of the user's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template}:{line}: {message}")]
pub struct TemplateError {
    /// Its name: that of its file.
    pub template: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Words of one notifier in one language. A clone is another handle of the same.
#[derive(Clone)]
pub struct Words {
    environment: Arc<Environment<'static>>,
    /// The name of the user's template, where there is one.
    own: Option<Arc<str>>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Words {
    /// The words of a built-in template; a fault in it shows in tests, and here as no words at all.
    pub fn built_in(source: &'static str) -> Self {
        let mut environment = environment();
        // What does not parse stays without its macros, and `say` is empty.
        let _ = environment.add_template(BUILT_IN, source);
        Self { environment: Arc::new(environment), own: None }
    }

    /// The same with the macros that `text` defines in place of the built-in ones. Each of `samples`, a
    /// macro with its arguments, is tried at once, so that a fault shows at start and not at night.
    pub fn with_file(
        source: &'static str,
        name: &str,
        text: &str,
        samples: &[(&str, Vec<Value>)],
    ) -> Result<Self, TemplateError> {
        let template_error = |error: &Error| TemplateError {
            template: name.to_owned(),
            line: error.line().unwrap_or(1),
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        };
        let mut environment = environment();
        let _ = environment.add_template(BUILT_IN, source);
        environment.add_template_owned(name.to_owned(), text.to_owned()).map_err(|error| template_error(&error))?;
        let words = Self { environment: Arc::new(environment), own: Some(name.into()) };
        words.check(name, samples).map_err(|error| template_error(&error))?;
        Ok(words)
    }

    /// Whether both say everything in the same way: the texts of their templates are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let source = |words: &Self, name: &str| -> Option<String> {
            words.environment.get_template(name).ok().map(|template| template.source().to_owned())
        };
        let own = |words: &Self| words.own.as_deref().and_then(|name| source(words, name));
        source(self, BUILT_IN) == source(other, BUILT_IN) && own(self) == own(other)
    }

    fn check(&self, name: &str, samples: &[(&str, Vec<Value>)]) -> Result<(), Error> {
        self.environment.get_template(name)?.render_captured(())?;
        for (sample, arguments) in samples {
            self.call(name, sample, arguments).transpose()?;
        }
        Ok(())
    }

    /// What a macro makes of its arguments, without white space around it. A macro of the user's that
    /// fails, or that says nothing, must not cost the message: then it is the built-in one.
    pub fn say(&self, name: &str, arguments: &[Value]) -> String {
        let templates = self.own.as_deref().into_iter().chain([BUILT_IN]);
        for template in templates {
            match self.call(template, name, arguments) {
                Some(Ok(text)) if !text.trim().is_empty() => return text.trim().to_owned(),
                Some(Err(error)) => {
                    tracing::warn!(template, name, kind = %error.kind(), line = error.line(), "a template fails");
                }
                _ => {}
            }
        }
        String::new()
    }

    /// `None` where the template has no such macro.
    fn call(&self, template: &str, name: &str, arguments: &[Value]) -> Option<Result<String, Error>> {
        let template = self.environment.get_template(template).ok()?;
        let mut evaluated = match template.render_captured(()) {
            Ok(evaluated) => evaluated,
            Err(error) => return Some(Err(error)),
        };
        evaluated.state().lookup(name)?;
        Some(evaluated.with_state_mut(|state| state.call_macro(name, arguments)))
    }
}

/// An argument of a macro.
pub fn value(argument: impl Serialize) -> Value {
    Value::from(Serde(argument))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    // Fails for delimiters that contradict each other only, and these are the usual ones.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "{% macro hello(name) %}\n  Hello {{ name }}\n{% endmacro %}\n{% macro bye() %}Bye{% endmacro %}";

    fn own(text: &str) -> Result<Words, TemplateError> {
        Words::with_file(SOURCE, "own.j2", text, &[("hello", vec![Value::from("x")])])
    }

    #[test]
    fn a_file_replaces_what_it_defines() {
        let built_in = Words::built_in(SOURCE);
        assert_eq!(built_in.say("hello", &[Value::from("<Ada>")]), "Hello <Ada>");
        assert_eq!(built_in.say("unknown", &[]), "");
        let words = own("{% macro hello(name) %}Merhaba {{ name }}{% endmacro %}").unwrap();
        assert_eq!(words.say("hello", &[Value::from("Ada")]), "Merhaba Ada");
        assert_eq!(words.say("bye", &[]), "Bye");
    }

    #[test]
    fn words_are_the_same_when_their_templates_are() {
        let text = "{% macro bye() %}Hoşça kal{% endmacro %}";
        let (built_in, words) = (Words::built_in(SOURCE), own(text).unwrap());
        for (one, other, expected) in [
            (&built_in, &Words::built_in(SOURCE), true),
            (&built_in, &Words::built_in("{% macro bye() %}Bye{% endmacro %}"), false),
            (&built_in, &words, false),
            (&words, &own(text).unwrap(), true),
            (&words, &Words::with_file(SOURCE, "moved.j2", text, &[]).unwrap(), true),
            (&words, &own("{% macro bye() %}Güle güle{% endmacro %}").unwrap(), false),
        ] {
            assert_eq!((one.is_same(other), other.is_same(one)), (expected, expected), "{one:?} {other:?}");
        }
    }

    #[test]
    fn faults_name_template_and_line() {
        for (text, expected) in [
            ("\n{% macro hello(name) %}{{ name", "own.j2:2: "),
            ("{% macro hello(name) %}\n{{ nobody }}{% endmacro %}", "own.j2:2: "),
            ("{% macro hello(name) %}\n\n{{ name.x.y }}{% endmacro %}", "own.j2:3: "),
            ("{% macro hello(name) %}{{ name|nonsense }}{% endmacro %}", "own.j2:1: "),
            (
                "{% macro hello(name) %}{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}{% endmacro %}",
                "own.j2:1: ",
            ),
        ] {
            let error = own(text).unwrap_err().to_string();
            assert!(error.starts_with(expected) && error.len() > expected.len(), "{error}");
        }
    }

    #[test]
    fn a_macro_that_fails_or_says_nothing_is_replaced() {
        let words = own("{% macro hello(name) %}{% if name == 'x' %}ok{% else %}{{ nobody }}{% endif %}{% endmacro %}")
            .unwrap();
        assert_eq!(words.say("hello", &[Value::from("x")]), "ok");
        assert_eq!(words.say("hello", &[Value::from("y")]), "Hello y");
        let words = own("{% macro bye() %} {% endmacro %}").unwrap();
        assert_eq!(words.say("bye", &[]), "Bye");
    }
}
