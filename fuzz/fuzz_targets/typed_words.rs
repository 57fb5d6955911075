//! Fuzzes what people type: sizes, limits, targets, cgroup paths.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = text.parse::<grey_model::Bytes>();
        let _ = text.parse::<grey_model::MemoryLimit>();
        let _ = text.parse::<grey_model::Target>();
    }
    if let Some(path) = grey_model::CgroupPath::new(text) {
        let _ = grey_model::Owner::of(&path, true);
        assert!(path.parent().is_none_or(|parent| parent.contains(&path)));
    }
});
