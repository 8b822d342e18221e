//! What every role shares: configuration, keys, telemetry, shutdown.
