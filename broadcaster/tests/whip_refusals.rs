//! What WHIP refuses over real HTTP, with which status and which words, and what it tells without being asked to publish.

mod common;

use common::Line;
use common::whip::{Client, FRAGMENT, KEY, Media, SDP, assert_problem};

#[tokio::test]
async fn an_endpoint_refuses_with_a_status_and_a_reason() {
    let line = Line::start().await;
    let (_, offer) = Client::new().await;
    let wrong = ("Authorization", "Bearer wrong");
    let large = "a".repeat(65 << 10);
    let no_video = offer[..offer.find("m=video").unwrap().max(offer.find("m=audio").unwrap())].to_owned();
    let no_video = if no_video.contains("m=video") { offer.replace("H264", "AV1") } else { no_video };
    type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str);
    let cases: Vec<Case<'_>> = vec![
        ("POST", "/whip", vec![SDP], &offer, 401, "Bearer KEY"),
        ("POST", "/whip", vec![SDP, wrong], &offer, 401, "key"),
        ("POST", "/whip/wrong", vec![SDP], &offer, 401, "key"),
        ("POST", "/whip", vec![KEY], &offer, 415, "application/sdp"),
        ("POST", "/whip", vec![KEY, FRAGMENT], &offer, 415, "trickle-ice-sdpfrag"),
        ("POST", "/whip", vec![KEY, SDP], &large, 413, "65536"),
        ("POST", "/whip", vec![KEY, SDP], "hello", 400, "SDP"),
        ("POST", "/whip", vec![KEY, SDP], "", 400, "SDP"),
        ("POST", "/whip", vec![KEY, SDP], &no_video, 422, "video"),
        ("PUT", "/whip", vec![KEY, SDP], &offer, 405, "POST"),
        ("DELETE", "/whip/secret", vec![KEY], "", 405, "POST"),
        ("PATCH", "/whip/session/0123", vec![KEY, FRAGMENT, ("If-Match", "*")], "a=end-of-candidates", 404, "ended"),
        ("DELETE", "/whip/session/0123", vec![KEY], "", 404, "ended"),
        ("GET", "/whip/session/0123", vec![KEY], "", 404, "ended"),
    ];
    for (method, path, headers, body, status, named) in cases {
        let answer = line.send(method, path, &headers, body).await;
        assert_problem(&answer, status, named);
        assert_eq!(answer.header("access-control-allow-origin"), "*", "a page must be able to read why");
        match status {
            401 => assert!(answer.header("www-authenticate").starts_with("Bearer")),
            405 => assert!(answer.header("allow").contains("POST")),
            _ => {}
        }
    }
    assert_eq!(line.started().await, 0);
    line.stop().await;
}

#[tokio::test]
async fn an_endpoint_tells_browsers_what_it_takes() {
    let line = Line::start().await;
    let preflight = [
        ("Origin", "https://studio.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    for (path, methods) in
        [("/whip", &["POST"][..]), ("/whip/secret", &["POST"]), ("/whip/session/0", &["PATCH", "DELETE"])]
    {
        let answer = line.send("OPTIONS", path, &preflight, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        for method in methods {
            assert!(answer.header("access-control-allow-methods").contains(method));
        }
        for name in ["authorization", "content-type", "if-match"] {
            assert!(answer.header("access-control-allow-headers").contains(name));
        }
        assert!(answer.header("access-control-expose-headers").contains("location"));
    }
    let plain = line.send("OPTIONS", "/whip", &[], "").await;
    assert_eq!((plain.status, plain.header("accept-post").as_str()), (200, "application/sdp"));
    for method in ["GET", "HEAD"] {
        let nothing = line.send(method, "/whip", &[], "").await;
        assert_eq!((nothing.status, nothing.body.len()), (204, 0), "{method}");
    }
    line.stop().await;
}

#[tokio::test]
async fn a_session_refuses_what_is_not_for_it_and_goes_on() {
    let line = Line::start().await;
    let mut client = Client::publish(&line).await;
    let session = client.session.clone();
    let tag = ("If-Match", client.etag.clone());
    let tag = (tag.0, tag.1.as_str());
    assert!(session.starts_with("/whip/session/") && session.len() >= "/whip/session/".len() + 32);
    assert!(tag.1.starts_with('"') && tag.1.ends_with('"'), "strong: {}", tag.1);
    let candidate = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n";
    let odd = "a=candidate:1 1 udp 1 abc.local 9 typ host\r\na=candidate:nonsense\r\na=candidate:\r\n";
    let wrong = ("Authorization", "Bearer wrong");
    let half = "a=ice-ufrag:abcd\r\n";
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16);
    let cases: Vec<Case<'_>> = vec![
        ("PATCH", vec![KEY, FRAGMENT, tag], candidate, 204),
        ("PATCH", vec![KEY, FRAGMENT, tag], odd, 204),
        ("PATCH", vec![KEY, FRAGMENT], candidate, 428),
        ("PATCH", vec![KEY, FRAGMENT, ("If-Match", "\"other\"")], candidate, 412),
        ("PATCH", vec![KEY, SDP, tag], candidate, 415),
        ("PATCH", vec![KEY, FRAGMENT, tag], "hello", 400),
        ("PATCH", vec![KEY, FRAGMENT, ("If-Match", "*")], half, 400),
        ("PATCH", vec![FRAGMENT, tag], candidate, 401),
        ("DELETE", vec![wrong], "", 401),
        ("POST", vec![KEY, SDP], "", 405),
        ("GET", vec![KEY], "", 204),
        ("OPTIONS", vec![], "", 200),
    ];
    for (method, headers, body, status) in cases {
        let answer = line.send(method, &session, &headers, body).await;
        assert_eq!(answer.status, status, "{method} {headers:?} {body}: {}", answer.text);
        if status == 204 {
            assert_eq!((answer.header("etag").as_str(), answer.body.len()), ("", 0));
        }
        if status >= 400 {
            assert_problem(&answer, status, "");
        }
    }
    client.send(&Media::new(320, 240, 1)).await;
    assert_eq!(client.delete(&line).await, 200);
    assert_eq!(line.send("DELETE", &session, &[KEY], "").await.status, 404);
    assert_eq!(line.ends().await, [true]);
    line.stop().await;
}

#[tokio::test]
async fn a_key_in_the_path_needs_no_header_later_and_a_dtls_client_is_answered_as_one() {
    let line = Line::start().await;
    let (mut client, offer) = Client::new().await;
    let offer = offer.replace("a=setup:actpass", "a=setup:active");
    let created = line.send("POST", "/whip/secret", &[SDP], &offer).await;
    assert_eq!((created.status, created.header("content-type").as_str()), (201, "application/sdp"));
    assert!(created.text.contains("a=setup:passive"));
    assert!(created.text.contains("a=candidate:"), "all candidates are in the answer: {}", created.text);
    client.accept(&created, |answer| answer.to_owned());
    client.connect().await;
    assert_eq!(line.send("DELETE", &client.session, &[], "").await.status, 200);
    line.stop().await;
}

#[tokio::test]
async fn a_server_without_a_free_port_asks_to_come_back() {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = Line::with_whip_ports(&port.to_string()).await;
    let (_, offer) = Client::new().await;
    // Before any media: the session has its port already.
    assert_eq!(line.send("POST", "/whip", &[SDP, KEY], &offer).await.status, 201);
    let full = line.send("POST", "/whip", &[SDP, KEY], &offer).await;
    assert_problem(&full, 503, "all 1 UDP ports");
    assert!(full.header("retry-after").parse::<u32>().unwrap() > 0);
    line.stop().await;
}
