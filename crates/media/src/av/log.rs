//! FFmpeg's log: into `tracing`, never onto the terminal, with the last error line kept for the error that follows it.

use std::cell::RefCell;
use std::sync::Once;

use ffmpeg_sys_next as ff;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes FFmpeg's log over. To be called before anything else of FFmpeg; later calls do nothing.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: sets two process-wide values, once; the callback below keeps FFmpeg's rules for it (any thread, no unwinding).
        unsafe {
            #[cfg(all(target_arch = "x86_64", unix))]
            {
                ff::av_log_set_level(ff::AV_LOG_ERROR);
                ff::av_log_set_callback(Some(callback));
            }
            // Elsewhere a C variable argument list has another shape in the bindings: codes must do.
            #[cfg(not(all(target_arch = "x86_64", unix)))]
            ff::av_log_set_level(ff::AV_LOG_QUIET);
        }
    });
}

/// The last error that FFmpeg logged on this thread since the last call.
pub(super) fn take_last() -> Option<String> {
    LAST.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten()
}

#[cfg(all(target_arch = "x86_64", unix))]
unsafe extern "C" fn callback(
    class: *mut std::ffi::c_void,
    level: std::ffi::c_int,
    format: *const std::ffi::c_char,
    args: *mut ff::__va_list_tag,
) {
    if level > ff::AV_LOG_ERROR {
        return;
    }
    let mut line = [0; 512];
    let mut prefix = 1;
    // SAFETY: the arguments are passed on as FFmpeg gave them; it writes at most `len` bytes and ends them with a zero.
    let text = unsafe {
        ff::av_log_format_line2(class, level, format, args, line.as_mut_ptr(), line.len() as _, &mut prefix);
        std::ffi::CStr::from_ptr(line.as_ptr())
    };
    let text = text.to_string_lossy().trim().to_owned();
    tracing::debug!(target: "millrace_media::ffmpeg", "{text}");
    // A thread that is ending has no place for it any more: then it is only logged.
    let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(text)));
}
