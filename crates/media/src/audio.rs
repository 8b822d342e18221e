//! Sound: Opus, as WebRTC sends it, into AAC, which every HLS player takes. Times count samples at 48 kHz.

pub use crate::av::audio::{AacFrame, OpusToAac, SAMPLE_RATE, packet_samples};

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// A tone in Opus packets with their times: 440 Hz, `seconds` long.
    fn tone(seconds: u32) -> Vec<(i64, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tone.ogg");
        let source = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", &source, "-ac", "2", "-c:a", "libopus"])
            .arg(&path)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let mut input = ffmpeg_next::format::input(&path).unwrap();
        let mut pts = 0;
        input
            .packets()
            .map(|(_, packet)| {
                let data = packet.data().unwrap().to_vec();
                let at = pts;
                pts += packet_samples(&data).unwrap();
                (at, data)
            })
            .collect()
    }

    /// Decodes frames to the left channel with the `ffmpeg` program.
    fn pcm(frames: &[AacFrame]) -> Vec<f32> {
        let mut ffmpeg = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "aac", "-i", "-", "-map_channel", "0.0.0", "-f", "f32le", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut adts = Vec::new();
        for frame in frames {
            // AAC-LC, 48 kHz, two channels.
            let size = frame.data.len() + 7;
            adts.extend([
                0xff,
                0xf1,
                0x4c,
                0x80 | (size >> 11) as u8,
                (size >> 3) as u8,
                ((size << 5) as u8) | 0x1f,
                0xfc,
            ]);
            adts.extend_from_slice(&frame.data);
        }
        let mut stdin = ffmpeg.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&adts));
        let output = ffmpeg.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Cycles per second by upward zero crossings.
    fn pitch(pcm: &[f32]) -> f64 {
        let crossings = pcm.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
        crossings as f64 * f64::from(SAMPLE_RATE) / pcm.len() as f64
    }

    fn assert_unbroken(frames: &[AacFrame]) {
        assert!(frames.windows(2).all(|w| w[1].pts - w[0].pts == 1024), "frames follow each other without a hole");
    }

    #[test]
    fn a_tone_keeps_its_length_and_its_pitch() {
        let packets = tone(4);
        let mut codec = OpusToAac::new().unwrap();
        let track = codec.track();
        assert_eq!((track.sample_rate, track.channels, track.codec_string().as_str()), (48_000, 2, "mp4a.40.2"));
        let frames: Vec<_> = packets.iter().flat_map(|(pts, data)| codec.push(pts + 90_000, data).unwrap()).collect();
        assert_unbroken(&frames);
        // The encoder's own delay of one frame is in the time of the first.
        assert_eq!(frames[0].pts, 90_000 - 1024);
        let end = frames.last().unwrap().pts + 1024 - 90_000;
        assert!((4 * 48_000 - 4096..=4 * 48_000 + 1024).contains(&end), "{end} samples of {}", 4 * 48_000);
        let pcm = pcm(&frames);
        let heard = pitch(&pcm[24_000..168_000]);
        assert!((heard - 440.0).abs() < 1.0, "{heard} Hz");
    }

    #[test]
    fn a_clock_that_runs_fast_or_slow_is_followed_without_a_tear() {
        for ppm in [1_000i64, -1_000] {
            let packets = tone(60);
            let mut codec = OpusToAac::new().unwrap();
            let clock = |pts: i64| pts + pts * ppm / 1_000_000;
            let frames: Vec<_> =
                packets.iter().flat_map(|(pts, data)| codec.push(clock(*pts), data).unwrap()).collect();
            assert_unbroken(&frames);
            let (given, last) = packets.last().unwrap();
            let end = clock(*given) + packet_samples(last).unwrap();
            let made = frames.last().unwrap().pts + 1024;
            // The encoder keeps two to three frames back; the clock itself is off by 2,880 samples by now.
            let kept = end - made;
            assert!((1_000..=3_200).contains(&kept), "{ppm} ppm: {made} of {end} samples");
            let heard = pitch(&pcm(&frames)[48_000..]);
            assert!((heard - 440.0).abs() < 2.0, "{ppm} ppm: {heard} Hz");
        }
    }

    #[test]
    fn lost_packets_become_silence_and_what_follows_stays_in_time() {
        let packets = tone(2);
        let mut codec = OpusToAac::new().unwrap();
        let kept = packets.iter().enumerate().filter(|(n, _)| !(40..45).contains(n)).map(|(_, packet)| packet);
        let frames: Vec<_> = kept.flat_map(|(pts, data)| codec.push(*pts, data).unwrap()).collect();
        assert_unbroken(&frames);
        let whole: Vec<_> = {
            let mut codec = OpusToAac::new().unwrap();
            packets.iter().flat_map(|(pts, data)| codec.push(*pts, data).unwrap()).collect()
        };
        assert_eq!(frames.len(), whole.len());
        let pcm = pcm(&frames);
        let loudness = |from: usize| pcm[from..from + 960].iter().map(|s| s.abs()).sum::<f32>() / 960.0;
        // Packets 40 to 44 are 800 to 900 ms; the AAC is a frame behind.
        assert!(loudness(42 * 960 + 1024) < loudness(20 * 960) / 20.0);
        assert!(loudness(60 * 960) > loudness(20 * 960) / 2.0);
    }

    #[test]
    fn a_long_pause_starts_the_line_anew_and_an_overlap_is_cut() {
        let packets = tone(1);
        let mut codec = OpusToAac::new().unwrap();
        let (first, second) = packets.split_at(20);
        let mut frames: Vec<_> = first.iter().flat_map(|(pts, data)| codec.push(*pts, data).unwrap()).collect();
        let before = frames.len();
        frames.extend(second.iter().flat_map(|(pts, data)| codec.push(*pts + 480_000, data).unwrap()));
        assert_eq!(frames[before].pts, second[0].0 + 480_000 - 1024);
        // The same again: all of it is in the past.
        assert!(second.iter().all(|(pts, data)| codec.push(*pts, data).unwrap().is_empty()));
    }

    #[test]
    fn bytes_that_are_no_opus_are_an_error_and_the_next_packet_is_taken() {
        let packets = tone(1);
        let mut codec = OpusToAac::new().unwrap();
        assert!(codec.push(0, &[]).is_err());
        assert!(codec.push(0, &[0xff]).is_err());
        assert!(codec.push(0, &[0x03, 0]).is_err());
        let mut seed = 7u32;
        for n in 0..400i64 {
            let noise: Vec<u8> = (0..n % 90)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            let _ = codec.push(n * 960, &noise);
        }
        let frames: Vec<_> =
            packets.iter().flat_map(|(pts, data)| codec.push(400 * 960 + pts, data).unwrap()).collect();
        assert!(frames.len() > 40);
    }

    #[test]
    fn packet_lengths_are_read_from_the_header() {
        for (packet, samples) in [
            (&[0x78u8][..], Some(960)), // one frame of 20 ms
            (&[0xf9][..], Some(1_920)), // two of them
            (&[0xfb, 0x03][..], Some(2_880)),
            (&[0x1b, 0x02][..], Some(5_760)), // two of 60 ms
            (&[0x1b, 0x03][..], None),        // 180 ms
            (&[0xfb][..], None),
            (&[0xfb, 0x00][..], None),
            (&[][..], None),
        ] {
            assert_eq!(packet_samples(packet), samples, "{packet:?}");
        }
    }
}
