//! FFmpeg and CMAF behind a safe API.
