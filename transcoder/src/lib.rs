//! The transcoder: a supervisor, one worker process per device, earnings.
