//! The broadcaster: ingest, segmenter, sessions with orchestrators, HLS origin.
