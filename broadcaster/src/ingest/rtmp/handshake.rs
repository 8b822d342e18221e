//! The simple RTMP handshake, server's side: version, two random blocks, and their echoes.
//!
//! The digest variant of Flash Player 9 is not offered: every encoder in use speaks the simple one.

use bytes::{Buf, BytesMut};

const VERSION: u8 = 3;
const BLOCK: usize = 1536;

/// The peer does not speak RTMP, or only an encrypted variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the first byte is {0:#04x}, plain rtmp starts with 0x03")]
pub struct NotRtmp(pub u8);

/// Where the handshake stands.
#[derive(Debug)]
enum Stage {
    AwaitC0C1,
    AwaitC2,
    Done,
}

/// State of one handshake. `seed` fills the server's block, which needs to differ from call to call and no more.
#[derive(Debug)]
pub struct Handshake {
    stage: Stage,
    seed: u64,
}

impl Handshake {
    /// A handshake that has seen nothing.
    pub fn new(seed: u64) -> Self {
        Self { stage: Stage::AwaitC0C1, seed }
    }

    /// Takes what it can from `input`, appends the answer to `out`, and says whether the handshake is done.
    pub fn step(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<bool, NotRtmp> {
        loop {
            match self.stage {
                Stage::AwaitC0C1 => {
                    // Judged by its first byte, so that garbage is not waited for.
                    if let Some(&version) = input.first()
                        && version != VERSION
                    {
                        return Err(NotRtmp(version));
                    }
                    if input.len() < 1 + BLOCK {
                        return Ok(false);
                    }
                    input.advance(1);
                    let c1 = input.split_to(BLOCK);
                    out.push(VERSION);
                    out.extend([0; 8]); // time, and a zero version: the simple handshake
                    let mut state = self.seed | 1;
                    for _ in 0..(BLOCK - 8) / 8 {
                        // xorshift64: cheap filler
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        out.extend(state.to_le_bytes());
                    }
                    out.extend(&c1);
                    self.stage = Stage::AwaitC2;
                }
                Stage::AwaitC2 => {
                    if input.len() < BLOCK {
                        return Ok(false);
                    }
                    input.advance(BLOCK); // what it says is of no use to anyone
                    self.stage = Stage::Done;
                }
                Stage::Done => return Ok(true),
            }
        }
    }
}
