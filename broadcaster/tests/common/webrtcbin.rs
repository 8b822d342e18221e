//! GStreamer's `webrtcbin` as a WHIP client, less the HTTP, which each test speaks its own way.

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_sdp::SDPMessage;
use gstreamer_webrtc::{WebRTCICEGatheringState, WebRTCPeerConnectionState, WebRTCSDPType, WebRTCSessionDescription};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Encoders for [`Webrtcbin::offer`]: encoder and payloader, and the RTP that is offered.
pub const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 ! video/x-h264,profile=baseline \
     ! rtph264pay config-interval=-1 aggregate-mode=zero-latency \
     ! application/x-rtp,media=video,encoding-name=H264,packetization-mode=(string)1";
pub const VP8: &str = "vp8enc deadline=1 cpu-used=8 target-bitrate=1000000 keyframe-max-dist=60 ! rtpvp8pay picture-id-mode=15-bit \
     ! application/x-rtp,media=video,encoding-name=VP8";
pub const VP9: &str = "vp9enc deadline=1 cpu-used=8 lag-in-frames=0 target-bitrate=1000000 keyframe-max-dist=60 ! rtpvp9pay picture-id-mode=15-bit \
     ! application/x-rtp,media=video,encoding-name=VP9";

/// For an offer with all its candidates: there is one of each network interface.
const GATHERING: Duration = Duration::from_secs(20);

/// Picture and sound.
const TRACKS: usize = 2;

/// Pictures behind the moment when `webrtcbin` calls itself connected. Of those before, and of the first ones after, it loses some.
const SETTLING: usize = 15;

/// A pipeline that publishes a test picture of 30 frames a second, and a tone.
pub struct Webrtcbin {
    pipeline: gst::Pipeline,
    client: gst::Element,
    /// Tracks of which the last packet has gone out: `webrtcbin` tells its pipeline of no end.
    at_end: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Webrtcbin {
    /// A publisher of so many pictures, and its offer. `encode` takes them from raw to RTP, in the syntax of `gst-launch`.
    pub fn offer(size: (u32, u32), pictures: usize, encode: &str) -> (Self, String) {
        gst::init().unwrap();
        let (width, height) = size;
        let sounds = pictures * 50 / 30;
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc name=camera is-live=true num-buffers={pictures} \
             ! video/x-raw,format=I420,width={width},height={height},framerate=30/1 ! {encode},payload=96,clock-rate=90000 ! rtp. \
             audiotestsrc is-live=true num-buffers={sounds} samplesperbuffer=960 \
             ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay \
             ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000 ! rtp. \
             webrtcbin name=rtp bundle-policy=max-bundle"
        ));
        let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
        let client = pipeline.by_name("rtp").unwrap();
        let at_end = Arc::new(AtomicUsize::new(0));
        assert_eq!(client.sink_pads().len(), TRACKS);
        for pad in client.sink_pads() {
            let at_end = at_end.clone();
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                let eos = info.event().is_some_and(|event| event.type_() == gst::EventType::Eos);
                at_end.fetch_add(usize::from(eos), Ordering::SeqCst);
                gst::PadProbeReturn::Ok
            });
            let transceiver: glib::Object = pad.property("transceiver");
            transceiver.set_property_from_str("direction", "sendonly");
        }

        let sent = count_pictures(&client, &pipeline.by_name("camera").unwrap());

        let (offered, offer) = mpsc::channel();
        client.connect_notify(Some("ice-gathering-state"), move |client, _| {
            let state: WebRTCICEGatheringState = client.property("ice-gathering-state");
            if state == WebRTCICEGatheringState::Complete {
                let whole: WebRTCSessionDescription = client.property("local-description");
                let _ = offered.send(whole.sdp().as_text().unwrap());
            }
        });
        client.connect("on-negotiation-needed", false, |values| {
            let client: gst::Element = values[0].get().unwrap();
            let promise = gst::Promise::with_change_func({
                let client = client.clone();
                move |reply| {
                    let offer: WebRTCSessionDescription = reply.unwrap().unwrap().get("offer").unwrap();
                    client.emit_by_name::<()>("set-local-description", &[&offer, &None::<gst::Promise>]);
                }
            });
            client.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
            None
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let offer = offer.recv_timeout(GATHERING).expect("webrtcbin makes no offer");
        (Self { pipeline, client, at_end, sent }, offer)
    }

    /// Takes the server's answer, and begins to send.
    pub fn accept(&self, answer: &str) {
        let answer = SDPMessage::parse_buffer(answer.as_bytes()).unwrap();
        let answer = WebRTCSessionDescription::new(WebRTCSDPType::Answer, answer);
        self.client.emit_by_name::<()>("set-remote-description", &[&answer, &None::<gst::Promise>]);
    }

    /// Whether all has been sent.
    pub fn is_done(&self) -> bool {
        let error = self.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "webrtcbin: {error:?}");
        self.at_end.load(Ordering::SeqCst) == TRACKS
    }

    /// Pictures that were taken since the connection has settled, of all that were asked for.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst).saturating_sub(SETTLING)
    }
}

impl Drop for Webrtcbin {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Counts the pictures of the camera from the connection on. The first one that is not to be lost is made a key picture.
fn count_pictures(client: &gst::Element, camera: &gst::Element) -> Arc<AtomicUsize> {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let client = client.downgrade();
    camera.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
        let state = client.upgrade().map(|client| client.property::<WebRTCPeerConnectionState>("connection-state"));
        if state == Some(WebRTCPeerConnectionState::Connected) && count.fetch_add(1, Ordering::SeqCst) == SETTLING {
            let request = gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).build();
            pad.push_event(gst::event::CustomDownstream::new(request));
        }
        gst::PadProbeReturn::Ok
    });
    sent
}
