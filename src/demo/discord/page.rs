//! `GET /` of the simulated Discord: the channel, for people.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::markdown::{inline, is_link, paragraph};
use super::state::{Message, State};
use crate::demo::page;

pub(super) const TITLE: &str = "Simulated Discord";

pub(super) const STYLE: &str = "
article { display: flex; gap: .9rem; padding: .6rem 0; }
.avatar { flex: none; width: 2.5rem; height: 2.5rem; border-radius: 50%; background: #5865f2; color: #fff;
  font-size: 1.2rem; line-height: 2.5rem; text-align: center; }
.message { flex: 1; min-width: 0; }
.author { font-weight: 600; }
.app { padding: 0 .3rem; border-radius: .2rem; background: #5865f2; color: #fff; font-size: .65rem; font-weight: 600;
  vertical-align: .1rem; }
.mention { padding: 0 .15rem; border-radius: .2rem; background: var(--pill); color: var(--pill-text); font-weight: 500; }
.embed { max-width: 33rem; margin-top: .3rem; padding: .6rem .9rem .7rem; border-left: .25rem solid var(--quiet);
  border-radius: .25rem; background: var(--box); font-size: .9rem; }
.embed h2 { margin: 0 0 .35rem; font-size: 1rem; }
.fields { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .5rem .9rem; margin: .5rem 0; }
.wide { grid-column: 1 / -1; }
@media (max-width: 30rem) { .fields { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
dt { font-weight: 600; }
dd { margin: 0; }
.footer { margin-top: .5rem; color: var(--quiet); font-size: .75rem; }
code { padding: .05rem .25rem; border-radius: .2rem; background: var(--line); font-size: .85em; }
blockquote { margin: .1rem 0; padding-left: .6rem; border-left: .2rem solid var(--quiet); }
";

/// What is in the channel, newest first.
pub(super) fn render(state: &State, now: Timestamp) -> Markup {
    let channel = state.webhooks.first().map_or("", |webhook| &webhook.name);
    let counts = state.counts;
    html! {
        header {
            h1 { "# " (channel) }
            small {
                "Simulated Discord, newest first. " (counts.posted) " posted, " (counts.edited) " edited, "
                (counts.rate_limited) " rate limited."
            }
        }
        main {
            @if state.visible().next().is_none() { p.quiet { "Nothing has been posted yet." } }
            @for message in state.messages.iter().rev().filter(|message| !message.deleted).take(page::SHOWN) {
                (render_message(message, now))
            }
            (page::older(state.visible().count()))
        }
    }
}

fn render_message(message: &Message, now: Timestamp) -> Markup {
    let author = Some(text(&message.content, "username")).filter(|name| !name.is_empty()).unwrap_or(&message.webhook);
    html! {
        article {
            div.avatar aria-hidden="true" { (author.chars().take(1).flat_map(char::to_uppercase).collect::<String>()) }
            div.message {
                div {
                    span.author { (author) } " " span.app { "APP" } " "
                    small { (page::time(message.posted_at, &page::short(message.posted_at, now))) }
                    @if let Some(edited_at) = message.edited_at {
                        " " small title={ "edited " (page::full(edited_at)) } { "(edited)" }
                    }
                    @if !message.pings.is_empty() { " " small { "🔔 pings " (message.pings.join(", ")) } }
                }
                @let content = text(&message.content, "content");
                @if !content.is_empty() { div { (paragraph(content, now)) } }
                @for embed in items(&message.content, "embeds") { (render_embed(embed, now)) }
            }
        }
    }
}

fn render_embed(embed: &Value, now: Timestamp) -> Markup {
    let color = embed.get("color").and_then(Value::as_u64).map(|color| format!("border-color: #{color:06x}"));
    let (title, description) = (text(embed, "title"), text(embed, "description"));
    let author = embed.get("author").map_or("", |author| text(author, "name"));
    html! {
        div.embed style=[color] {
            @if !author.is_empty() { div.quiet { (author) } }
            @if !title.is_empty() { h2 { (linked(title, text(embed, "url"), now)) } }
            @if !description.is_empty() { div { (paragraph(description, now)) } }
            @let fields = items(embed, "fields");
            @if !fields.is_empty() { dl.fields { @for field in fields { (render_field(field, now)) } } }
            (render_footer(embed, now))
        }
    }
}

fn linked(title: &str, url: &str, now: Timestamp) -> Markup {
    let title = inline(title, now);
    html! { @if is_link(url) { a href=(url) rel="noreferrer" { (title) } } @else { (title) } }
}

fn render_field(field: &Value, now: Timestamp) -> Markup {
    let is_inline = field.get("inline").and_then(Value::as_bool).unwrap_or_default();
    html! {
        div class=(if is_inline { "inline" } else { "wide" }) {
            dt { (inline(text(field, "name"), now)) }
            dd { (paragraph(text(field, "value"), now)) }
        }
    }
}

fn render_footer(embed: &Value, now: Timestamp) -> Markup {
    let footer = embed.get("footer").map_or("", |footer| text(footer, "text"));
    let timestamp: Option<Timestamp> = text(embed, "timestamp").parse().ok();
    html! {
        @if !footer.is_empty() || timestamp.is_some() {
            div.footer {
                (footer)
                @if !footer.is_empty() && timestamp.is_some() { " • " }
                @if let Some(timestamp) = timestamp { (page::time(timestamp, &page::short(timestamp, now))) }
            }
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default().trim()
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::demo::discord::{Options, SimulatedDiscord};
    use crate::notify::client::http_client;

    fn now() -> Timestamp {
        Timestamp::from_second(1_769_848_200).unwrap()
    }

    fn message(content: Value) -> Message {
        Message {
            id: "1".to_owned(),
            webhook: "alerts".to_owned(),
            content,
            edits: Vec::new(),
            posted_at: now(),
            edited_at: None,
            pings: Vec::new(),
            deleted: false,
        }
    }

    fn shown(content: Value) -> String {
        render_message(&message(content), now()).into_string()
    }

    #[test]
    fn a_card_has_everything_in_its_place() {
        let card = shown(json!({
            "content": "<@456> look",
            "embeds": [{
                "title": "🔴 Balance", "url": "https://x.example/runbook", "color": 0x0E_4C3C,
                "description": "**2.01 USD** in `main`",
                "fields": [
                    { "name": "Balance", "value": "2.01 USD", "inline": true },
                    { "name": "Links", "value": "[Graph](http://y.example/)" },
                ],
                "footer": { "text": "CaptchaAI Pipeline Monitor" }, "timestamp": "2026-01-31T08:28:00.000Z",
            }],
        }));
        for part in [
            "<span class=\"author\">alerts</span>",
            ">08:30:00 UTC</time>",
            "<span class=\"mention\">@user 456</span> look",
            "<div class=\"embed\" style=\"border-color: #0e4c3c\">",
            "<h2><a href=\"https://x.example/runbook\" rel=\"noreferrer\">🔴 Balance</a></h2>",
            "<strong>2.01 USD</strong> in <code>main</code>",
            "<div class=\"inline\"><dt>Balance</dt><dd>2.01 USD</dd></div>",
            "<div class=\"wide\"><dt>Links</dt><dd><a href=\"http://y.example/\" rel=\"noreferrer\">Graph</a></dd></div>",
            "CaptchaAI Pipeline Monitor • <time datetime=\"2026-01-31T08:28:00Z\"",
        ] {
            assert!(card.contains(part), "{part} in {card}");
        }
        assert!(!card.contains("(edited)") && !card.contains("pings"), "{card}");
    }

    #[test]
    fn edits_pings_and_names_are_shown() {
        let mut message = message(json!({ "content": "a", "username": "ada" }));
        message.pings = vec!["user:1".to_owned(), "@here".to_owned()];
        message.edit(&json!({ "content": "b" }), now());
        let shown = render_message(&message, now()).into_string();
        for part in [">A</div>", ">ada<", "(edited)", "🔔 pings user:1, @here", "<div>b</div>"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn everything_is_escaped() {
        const EVIL: &str = "<b>&\"'";
        let page = shown(json!({
            "content": EVIL, "username": EVIL,
            "embeds": [{
                "title": EVIL, "url": format!("https://x/{EVIL}"), "description": EVIL, "color": 1,
                "author": { "name": EVIL },
                "fields": [{ "name": EVIL, "value": EVIL, "inline": true }],
                "footer": { "text": EVIL },
            }],
        }));
        assert!(!page.contains("<b>") && !page.contains("&\""), "{page}");
        assert_eq!(page.matches("&lt;b&gt;&amp;&quot;").count(), 9, "{page}");
    }

    #[test]
    fn what_no_message_should_hold_is_left_out() {
        for embed in [
            json!({ "title": "a", "url": "javascript:alert(1)" }),
            json!({ "title": "a", "color": "red", "fields": "none", "footer": 1, "timestamp": "yesterday" }),
        ] {
            let shown = shown(json!({ "embeds": [embed] }));
            assert!(shown.contains("<div class=\"embed\"><h2>a</h2></div>"), "{shown}");
        }
    }

    #[tokio::test]
    async fn the_channel_is_shown_newest_first_and_looking_is_no_request() {
        let discord = SimulatedDiscord::start(Options::unlimited()).await.unwrap();
        let http = http_client(Duration::from_secs(10)).unwrap();
        let page = async || http.get(discord.page_url()).send().await.unwrap().text().await.unwrap();
        assert!(page().await.contains("Nothing has been posted yet."));
        for number in 1..=page::SHOWN + 1 {
            http.post(discord.webhook_url()).json(&json!({ "content": format!("m{number}.") })).send().await.unwrap();
        }
        let requests = discord.counts().requests;
        let page = page().await;
        let (second, last) = (page.find("m2."), page.find("m51."));
        assert!(second.is_some() && last < second, "{page}");
        assert!(!page.contains("m1.") && page.contains("and 1 older"), "{page}");
        assert!(page.contains("<h1># alerts</h1>") && page.contains(r#"http-equiv="refresh" content="5""#), "{page}");
        assert!(!page.contains("<script") && !page.contains("src="), "{page}");
        assert_eq!(discord.counts().requests, requests);
        let token = discord.webhook_url().rsplit('/').next().unwrap().to_owned();
        assert!(!page.contains(&token));
        discord.stop().await;
    }
}
