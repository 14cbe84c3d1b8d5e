//! `GET /` of the simulated Alertalk: the calls, for people.

use jiff::Timestamp;
use maud::{Markup, html};

use super::state::{Call, State};
use crate::demo::page;

pub(super) const TITLE: &str = "Simulated Alertalk";

pub(super) const STYLE: &str = "
article { margin: .75rem 0; padding: .7rem 1rem; border-left: .25rem solid #e67e22; border-radius: .25rem;
  background: var(--box); }
.number { font-weight: 600; font-variant-numeric: tabular-nums; }
blockquote { margin: .4rem 0 0; font-size: 1.05rem; }
";

/// The calls, newest first.
pub(super) fn render(state: &State, now: Timestamp) -> Markup {
    html! {
        header {
            h1 { "📞 Calls" }
            small {
                "Simulated Alertalk, newest first; nobody is called. " (state.credits) " credits left. "
                (state.counts.calls) " spent."
            }
        }
        main {
            @if state.calls.is_empty() { p.quiet { "Nobody has been called yet." } }
            @for call in state.calls.iter().rev().take(page::SHOWN) { (render_call(call, now)) }
            (page::older(state.calls.len()))
        }
    }
}

fn render_call(call: &Call, now: Timestamp) -> Markup {
    let numbers: Vec<_> = call.numbers.iter().map(|number| hidden(number)).collect();
    html! {
        article {
            div {
                span.number { (numbers.join(", ")) } " "
                small { (page::time(call.at, &page::short(call.at, now))) ", " (page::relative(call.at, now)) }
            }
            blockquote { "“" (call.text) "”" }
        }
    }
}

/// A number without its middle: enough to tell who is called, too little to call them.
fn hidden(number: &str) -> String {
    let start: String = number.chars().take(3).collect();
    let end: String = number.chars().skip(8).collect();
    format!("{start} ••• •• {end}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::demo::alertalk::{Options, SimulatedAlertalk};
    use crate::notify::client::http_client;

    #[test]
    fn everything_is_escaped_and_numbers_are_hidden() {
        let now = Timestamp::from_second(1_769_848_200).unwrap();
        let numbers = vec!["5320000012".to_owned(), "<b>&\"'".to_owned()];
        let call = Call { numbers, text: "<b>&\"' bakiye".to_owned(), at: now };
        let shown = render_call(&call, now).into_string();
        assert!(shown.contains("532 ••• •• 12, &lt;b&gt; ••• •• </span>"), "{shown}");
        assert!(shown.contains("“&lt;b&gt;&amp;&quot;' bakiye”") && !shown.contains("<b>"), "{shown}");
    }

    #[tokio::test]
    async fn the_calls_are_shown_newest_first_and_looking_is_no_request() {
        let options = Options { credits: 3, ..Options::default() };
        let key = options.key.clone();
        let alertalk = SimulatedAlertalk::start(options).await.unwrap();
        let http = http_client(Duration::from_secs(10)).unwrap();
        let page = async || http.get(alertalk.page_url()).send().await.unwrap().text().await.unwrap();
        assert!(page().await.contains("Nobody has been called yet."));
        for (numbers, text) in [("5321234567", "Bakiye düşük."), ("5321234567,5337654321", "Bakiye bitti.")] {
            let body = json!({ "phone_number": numbers, "error_message": text });
            http.post(alertalk.url()).header("X-Webhook-Key", &key).json(&body).send().await.unwrap();
        }
        let page = page().await;
        let position = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} in {page}"));
        assert!(position("“Bakiye bitti.”") < position("“Bakiye düşük.”"));
        assert!(position("532 ••• •• 67, 533 ••• •• 21") < position("532 ••• •• 67</span>"));
        assert!(page.contains("0 credits left. 3 spent.") && page.contains("http-equiv=\"refresh\""), "{page}");
        assert!(!page.contains("5321234567") && !page.contains(&key), "{page}");
        assert_eq!((alertalk.counts().requests, alertalk.counts().other_requests), (2, 0));
        alertalk.stop().await;
    }
}
