//! The AudioSpecificConfig of AAC: rate, channels and frame length, and a frame of silence for it. Nothing is decoded.

use bytes::Bytes;
use millrace_media::cmaf::AudioTrack;

/// Why an AudioSpecificConfig is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AacError {
    /// It ends early.
    #[error("the aac configuration is cut short")]
    Truncated,
    /// Neither AAC-LC nor HE-AAC.
    #[error("aac object type {0} is not accepted: send AAC-LC or HE-AAC")]
    ObjectType(u32),
    /// A reserved value.
    #[error("the aac configuration has a reserved sample rate or channel layout")]
    Reserved,
}

/// Sample rates by index, ISO/IEC 14496-3 table 1.18.
const RATES: [u32; 13] = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
/// Channels by channel configuration, table 1.19; 0 means that the stream says so itself.
const CHANNELS: [u8; 15] = [2, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8];

/// Reads a track out of its configuration. The rate is that of the core, which counts frames in HE-AAC too.
pub fn track(config: Bytes) -> Result<AudioTrack, AacError> {
    let (sample_rate, channels, _) = read(&config)?;
    Ok(AudioTrack { sample_rate, channels, config })
}

/// Samples in each frame of a track, at its sample rate: 1024, or 960 where the configuration says so.
pub fn frame_samples(config: &[u8]) -> i64 {
    read(config).map_or(1024, |(_, _, samples)| samples)
}

/// One raw frame of silence for a track with this configuration; `None` where its channels are laid out in no common way.
pub fn silence(config: &[u8]) -> Option<Bytes> {
    // Syntactic elements by channel configuration, table 1.19: single and low-frequency ones have one channel, pairs have two.
    const SINGLE: u32 = 0;
    const PAIR: u32 = 1;
    const LOW: u32 = 3;
    const END: u32 = 7;
    let elements: &[u32] = match read(config).ok()?.1 {
        1 => &[SINGLE],
        2 => &[PAIR],
        3 => &[SINGLE, PAIR],
        4 => &[SINGLE, PAIR, SINGLE],
        5 => &[SINGLE, PAIR, PAIR],
        6 => &[SINGLE, PAIR, PAIR, LOW],
        _ => return None,
    };
    let mut frame = Frame::default();
    for (index, &element) in elements.iter().enumerate() {
        let tag = elements[..index].iter().filter(|&&before| before == element).count() as u32;
        frame.put(element, 3);
        frame.put(tag, 4);
        if element == PAIR {
            frame.put(0, 1); // each channel with its own window
            frame.put(0, CHANNEL_BITS);
        }
        // Gain, a long sine window and no scale factor bands, so no spectrum; no pulses, noise shaping or gain control.
        frame.put(0, CHANNEL_BITS);
    }
    frame.put(END, 3);
    Some(frame.bytes.into())
}

/// Of a channel without spectrum, ISO/IEC 14496-3 tables 4.50 and 4.6: gain, window and its shape, bands, prediction, three tools.
const CHANNEL_BITS: usize = 8 + (1 + 2 + 1) + 6 + 1 + 3;

fn read(config: &[u8]) -> Result<(u32, u8, i64), AacError> {
    let mut bits = Bits { bytes: config, at: 0 };
    let mut object = bits.object_type()?;
    let sample_rate = bits.sample_rate()?;
    let channels = bits.take(4)? as usize;
    if object == 5 || object == 29 {
        // HE-AAC with explicit signalling: the rate of the extension, then the core's object type
        bits.sample_rate()?;
        object = bits.object_type()?;
    }
    if object != 2 {
        return Err(AacError::ObjectType(object));
    }
    let samples = if bits.take(1)? == 1 { 960 } else { 1024 };
    match CHANNELS.get(channels) {
        Some(&channels) if channels > 0 => Ok((sample_rate, channels, samples)),
        _ => Err(AacError::Reserved),
    }
}

/// Bits as they are written.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
    count: usize,
}

impl Frame {
    fn put(&mut self, value: u32, bits: usize) {
        for bit in (0..bits).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (7 - self.count % 8);
            }
            self.count += 1;
        }
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Result<u32, AacError> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(AacError::Truncated)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    fn object_type(&mut self) -> Result<u32, AacError> {
        match self.take(5)? {
            31 => Ok(32 + self.take(6)?),
            other => Ok(other),
        }
    }

    fn sample_rate(&mut self) -> Result<u32, AacError> {
        let rate = match self.take(4)? as usize {
            15 => self.take(24)?,
            index => *RATES.get(index).ok_or(AacError::Reserved)?,
        };
        // The container's timescale field and the players' decoders end well below 2^17.
        if (7_350..=96_000).contains(&rate) { Ok(rate) } else { Err(AacError::Reserved) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_configurations_are_read() {
        let lc = track(Bytes::from_static(&[0x12, 0x10])).unwrap();
        assert_eq!((lc.sample_rate, lc.channels), (44_100, 2));
        let surround = track(Bytes::from_static(&[0x11, 0xB0])).unwrap();
        assert_eq!((surround.sample_rate, surround.channels), (48_000, 6));
        // HE-AAC v1, explicit: 24 kHz core, 48 kHz extension
        let he = track(Bytes::from_static(&[0x2B, 0x11, 0x88, 0x00])).unwrap();
        assert_eq!((he.sample_rate, he.channels), (24_000, 2));
        assert_eq!(frame_samples(&lc.config), 1024);
    }

    #[test]
    fn what_players_cannot_take_is_refused_with_a_reason() {
        assert_eq!(track(Bytes::new()), Err(AacError::Truncated));
        assert_eq!(track(Bytes::from_static(&[0x0A, 0x10])), Err(AacError::ObjectType(1)));
        assert_eq!(track(Bytes::from_static(&[0x16, 0x90])), Err(AacError::Reserved));
    }
}
