//! probe
use excom::*;
use excom_testkit::*;
fn main() {
    let disk = mount::Tmpfs::mount(6 << 10).unwrap();
    let settings = home::settings(&disk.folder().join("home")).unwrap();
    let engine = excom::embedded::open(&settings).unwrap();
    let u = Caller::user("a");
    let small = home::value(1, 3000).unwrap();
    let mut n = 0;
    loop {
        let k = XComKey::new("d", "r", "t", -1, format!("k{n}")).unwrap();
        match pollster::block_on(engine.push(&u, &k, small.clone().into())) { Ok(_) => n += 1, Err(e) => { println!("{n}: {e:?}"); break } }
    }
    for e in std::fs::read_dir(disk.folder().join("home")).unwrap() { let e = e.unwrap(); println!("{:?} {}", e.file_name(), e.metadata().unwrap().len()); }
    let scope = core::db::Scope::TaskInstance(TaskInstanceKey::new("d", "r", "t", -1).unwrap());
    println!("delete: {:?}", pollster::block_on(engine.delete(&u, &scope)));
    println!("flush: {:?}", pollster::block_on(engine.flush_reads()));
    println!("prune: {:?}", pollster::block_on(engine.prune()));
    drop(engine);
    match excom::embedded::open(&settings) {
        Err(e) => println!("reopen: {e:?}"),
        Ok(engine) => {
            println!("reopened");
            let k = XComKey::new("d", "r", "t", -1, "k0").unwrap();
            println!("pull {:?}", pollster::block_on(engine.pull(&u, &[k], PullOptions::default())).map(|a| a[0].code()));
            println!("delete after reopen: {:?}", pollster::block_on(engine.delete(&u, &scope)));
        }
    }
    for e in std::fs::read_dir(disk.folder().join("home")).unwrap() { let e = e.unwrap(); println!("{:?} {}", e.file_name(), e.metadata().unwrap().len()); }
}
