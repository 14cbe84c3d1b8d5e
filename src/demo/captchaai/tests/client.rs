use bytes::Bytes;

use super::*;
use crate::captchaai::client::Client;
use crate::captchaai::error::ApiError;

async fn check(fault: Fault, expected: Result<f64, ApiError>) {
    let service = start(Odds::NONE).await;
    service.script(Action::GetBalance, &fault, 1);
    let patient = Client::new().unwrap();
    let client = match expected {
        Err(ApiError::Timeout) => Client::with_timeout(Duration::from_millis(200)).unwrap(),
        _ => patient.clone(),
    };
    let account = account(&service);
    assert_eq!(client.get_balance(&account).await, expected, "{fault:?}");
    assert_eq!(patient.get_balance(&account).await, Ok(25.0), "after {fault:?}");
    service.stop().await;
}

#[tokio::test]
async fn faults_are_told_apart_and_then_it_works_again() {
    let malformed = |why| Err(ApiError::Malformed(why));
    check(Fault::Status(502), Err(ApiError::Http(502))).await;
    check(Fault::Status(403), Err(ApiError::Http(403))).await;
    check(Fault::Status(200), malformed("it is an HTML page")).await;
    check(Fault::Hang, Err(ApiError::Timeout)).await;
    check(Fault::Drip(Duration::from_millis(20)), Err(ApiError::Timeout)).await;
    check(Fault::Delay(Duration::from_secs(5)), Err(ApiError::Timeout)).await;
    check(Fault::Delay(Duration::from_millis(1)), Ok(25.0)).await;
    check(Fault::Garbage(Bytes::from_static(b"\x00\xff\xfe")), malformed("it is not UTF-8")).await;
    check(Fault::Garbage(vec![b'1'; 1 << 20].into()), malformed("it is longer than 64 KiB")).await;
    check(Fault::Answer("ERROR_SERVER_ERROR".to_owned()), Err(ApiError::Refused("ERROR_SERVER_ERROR".into()))).await;
    check(Fault::Answer("7.25".to_owned()), Ok(7.25)).await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_until_it_is_right() {
    let service = start(Odds::NONE).await;
    let client = Client::new().unwrap();
    service.set_key("another");
    let refused = client.get_balance(&account(&service)).await;
    assert_eq!(refused, Err(ApiError::Refused("ERROR_WRONG_USER_KEY".into())));
    service.set_key(&Options::default().key);
    service.set_balance(-0.5);
    assert_eq!(client.get_balance(&account(&service)).await, Ok(-0.5));
}
