use super::*;

/// A root directory with some files.
pub(super) fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn what_is_not_good_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("data");
    let settings = [
        ("broker.addr", "127.0.0.1:0"),
        ("admin.metrics_addr", "127.0.0.1:0"),
        ("log.data_dir", directory.to_str().unwrap()),
    ];
    let config = Config::with(&settings).unwrap();
    let checks = crate::tools::block_on(examine(&config)).unwrap();
    for check in &checks {
        let has_remedy = check.remedy.is_some();
        assert_eq!(check.verdict >= Verdict::Warning, has_remedy, "{check:?}");
    }
    for name in [
        "kernel",
        "io_uring",
        "clock",
        "processors",
        "memory",
        "open files",
        "port",
        "advertised",
    ] {
        assert!(
            checks.iter().any(|check| check.name == name),
            "{name}: {checks:?}"
        );
    }
    assert!(!directory.exists(), "the doctor makes nothing");
}
