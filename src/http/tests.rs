use axum::http::Method;

use super::testing::{Fixture, config, request};
use super::{EVERY_ROUTE, OTHER, OTHER_CODES, routes};

#[tokio::test]
async fn every_route_answers_to_its_methods_and_names_them() {
    let fixture = Fixture::new(config());
    for (path, allowed) in [
        ("/", "GET,HEAD"),
        ("/metrics", "GET,HEAD"),
        ("/-/healthy", "GET,HEAD"),
        ("/-/ready", "GET,HEAD"),
        ("/-/reload", "POST"),
        ("/pingback", "GET,HEAD,POST"),
        ("/pingback/token", "GET,HEAD,POST"),
        ("/api/v1/tasks", "POST"),
        ("/api/v1/tasks/1", "GET,HEAD"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if path == "/-/reload" && method == "POST" {
                continue;
            }
            let answer = fixture.send(request(Method::from_bytes(method.as_bytes()).unwrap(), path, "")).await;
            let wrong_method = answer.status == 405;
            assert_eq!(wrong_method, !allowed.split(',').any(|allowed| allowed == method), "{method} {path}");
            assert_eq!(answer.header("allow"), wrong_method.then_some(allowed), "{method} {path}");
            if wrong_method && method != "HEAD" {
                answer.error(405);
            }
        }
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let fixture = Fixture::new(config());
    for path in ["/-/healthy", "/nothing"] {
        let get = fixture.get(path).await;
        let head = fixture.send(request(Method::HEAD, path, "")).await;
        assert_eq!((head.status, head.header("content-length")), (get.status, get.header("content-length")));
        assert!(head.body.is_empty());
        assert_eq!(get.body.len().to_string(), get.header("content-length").unwrap());
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found_in_json() {
    let fixture = Fixture::new(config());
    for path in ["/nothing", "/metrics/", "/pingbacks", "/api/v1/tasks/", "/%00", "//", "/api"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert_eq!(fixture.send(request(method, path, "")).await.error(404), "not found", "{path}");
        }
    }
}

#[tokio::test]
async fn every_series_of_requests_is_there_from_the_start() {
    let fixture = Fixture::new(config());
    let text = fixture.get("/metrics").await.text();
    for route in routes() {
        for code in route.codes.iter().chain(&EVERY_ROUTE) {
            let series = format!("captchaai_http_requests_total{{code=\"{code}\",handler=\"{}\"}} 0", route.pattern);
            assert!(text.contains(&series), "{series}");
        }
    }
    for code in OTHER_CODES {
        let series = format!("captchaai_http_requests_total{{code=\"{code}\",handler=\"{OTHER}\"}} 0");
        assert!(text.contains(&series), "{series}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_path() {
    let fixture = Fixture::new(config());
    let router = fixture.router();
    for path in ["/api/v1/tasks/1", "/api/v1/tasks/2", "/nothing", "/pingback/token?id=1&code=x"] {
        super::testing::send(router.clone(), request(Method::GET, path, "")).await;
    }
    for (handler, code, count) in [
        ("/api/v1/tasks/{id}", "404", 2.0),
        (OTHER, "404", 1.0),
        ("/pingback/{token}", "200", 1.0),
        ("/pingback", "200", 0.0),
    ] {
        let series = format!("captchaai_http_requests_total{{code=\"{code}\",handler=\"{handler}\"}}");
        assert_eq!(fixture.sample(&series).await, Some(count), "{series}");
        let series = format!("captchaai_http_request_duration_seconds_count{{handler=\"{handler}\"}}");
        assert_eq!(fixture.sample(&series).await, Some(count), "{series}");
    }
}

#[tokio::test]
async fn a_reload_answers_with_what_came_of_it() {
    let mut fixture = Fixture::new(config());
    for (result, status) in
        [(Ok(()), 200), (Err(vec!["a.yml:1:2: wrong".to_owned(), "a.yml:3:4: wrong, too".to_owned()]), 400)]
    {
        let router = fixture.router();
        let answer = super::testing::send(router, request(Method::POST, "/-/reload", ""));
        let reply = async {
            fixture.reloads.recv().await.unwrap().send(result).unwrap();
        };
        let (answer, ()) = tokio::join!(answer, reply);
        match status {
            200 => answer.expect_ok(),
            _ => assert_eq!(answer.error(status), "a.yml:1:2: wrong\na.yml:3:4: wrong, too"),
        }
    }
    let router = fixture.router();
    fixture.reloads.close();
    let answer = super::testing::send(router, request(Method::POST, "/-/reload", "")).await;
    assert_eq!(answer.error(503), "the program is stopping");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn health_is_ok() {
    let fixture = Fixture::new(config());
    fixture.get("/-/healthy").await.expect_ok();
    fixture.get("/-/ready").await.expect_ok();
}
