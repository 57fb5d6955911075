//! The sampler on a fake kernel: what a sample holds, and what it leaves out.

use grey_fake_kernel::FakeKernel;
use grey_model::{CgroupField, ProcessField, SystemField};

use super::*;
use crate::cgroup::{TreeBounds, read_growth_tree};
use crate::roots::Roots;

fn open(kernel: &FakeKernel) -> Kernel {
    Kernel::open(&Roots {
        procfs: kernel.procfs().to_owned(),
        sysfs: kernel.sysfs().to_owned(),
        cgroupfs: kernel.cgroupfs().to_owned(),
        systemd: kernel.systemd().to_owned(),
    })
    .unwrap()
}

#[test]
fn a_sample_has_the_numbers_of_the_kernel() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let mut sampler = Sampler::new(&kernel, SamplerOptions::default()).unwrap();
    let sample = sampler.sample(&kernel).unwrap();
    let mut buffer = Vec::new();
    let meminfo = read_meminfo(&kernel, &mut buffer).unwrap();
    assert_eq!(
        sample.system.get(SystemField::Free),
        meminfo.mem_free.map(Bytes::get)
    );
    assert!(sample.system.get(SystemField::PressureSome).is_some());
    let lists = read_per_cpu_free_lists(&kernel, &mut buffer).unwrap();
    let kept = sample.system.get(SystemField::FreePerCpuLists);
    assert_eq!(kept.map(Bytes), Some(lists.unwrap()));
    let builder = sample
        .processes
        .iter()
        .find(|process| process.key.id.pid == 310)
        .unwrap();
    assert_eq!(builder.key.name.to_string(), "builder");
    assert!(builder.values.get(ProcessField::Rss).unwrap() > 0);
    let groups = sample.cgroups.unwrap();
    let web = groups
        .iter()
        .find(|group| group.path.as_bytes() == b"/build/web")
        .unwrap();
    assert!(web.values.get(CgroupField::Current).unwrap() > 0);
    // What of it can leak is as a look at it alone finds it.
    let path = &web.path;
    let growth = read_growth_tree(&kernel, path, TreeBounds::default(), &mut buffer);
    let known = |field| web.values.get(field);
    let swap = known(CgroupField::Swap).unwrap_or_default();
    let anonymous = known(CgroupField::Anonymous).map(|resident| Bytes(resident + swap));
    assert_eq!(anonymous, growth[0].anonymous);
    for (field, bytes) in [
        (CgroupField::Shared, growth[0].shmem),
        (CgroupField::SlabUnreclaimable, growth[0].slab),
        (CgroupField::SlabReclaimable, growth[0].slab_reclaimable),
        (CgroupField::KernelOther, growth[0].kernel),
    ] {
        assert!(bytes.is_some(), "{field:?}");
        assert_eq!(known(field).map(Bytes), bytes, "{field:?}");
    }
    assert!(growth[0].dying.is_some());
    assert_eq!(known(CgroupField::Dying), growth[0].dying);
    assert_eq!(known(CgroupField::Id), Some(growth[0].id.0));
}

#[test]
fn lists_of_cpus_that_are_dear_to_read_are_read_with_the_cgroups() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let options = SamplerOptions {
        cgroups_every: 2,
        ..SamplerOptions::default()
    };
    let mut sampler = Sampler::new(&kernel, options).unwrap();
    let mut has = |took: Duration| {
        sampler.lists_took = took;
        let sample = sampler.sample(&kernel).unwrap();
        sample.system.get(SystemField::FreePerCpuLists).is_some()
    };
    let dear = DEAR + Duration::from_micros(1);
    assert_eq!([has(dear), has(dear), has(dear)], [true, false, true]);
    assert!(has(Duration::ZERO));
}

#[test]
fn only_the_largest_are_kept_and_cgroups_are_read_now_and_then() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let options = SamplerOptions {
        processes: 2,
        cgroups: 1,
        groups: 1,
        cgroups_every: 3,
        looked_at: 1,
        ..SamplerOptions::default()
    };
    let mut sampler = Sampler::new(&kernel, options).unwrap();
    let samples: Vec<Sample> = (0..7).map(|_| sampler.sample(&kernel).unwrap()).collect();
    assert!(samples.iter().all(|sample| sample.processes.len() == 2));
    let read: Vec<bool> = samples
        .iter()
        .map(|sample| sample.cgroups.is_some())
        .collect();
    assert_eq!(read, [true, false, false, true, false, false, true]);
    assert_eq!(samples[0].cgroups.as_ref().unwrap().len(), 1);
    for sample in &samples {
        let groups = sample.groups.as_ref().map(Vec::len);
        assert_eq!(groups, sample.cgroups.as_ref().map(|_| 1));
    }
}

#[test]
fn a_process_that_lies_in_swap_is_found_in_its_turn() {
    let fake = FakeKernel::full();
    let name = "proc/311/status";
    let status = std::fs::read_to_string(fake.path(name)).unwrap();
    let swapped: String = status
        .lines()
        .map(|line| match line.starts_with("VmSwap:") {
            true => "VmSwap:\t 9999999 kB\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    assert!(swapped.contains("9999999"), "{swapped}");
    fake.write(name, swapped);
    let kernel = open(&fake);
    let options = SamplerOptions {
        processes: 1,
        looked_at: 2,
        ..SamplerOptions::default()
    };
    let mut sampler = Sampler::new(&kernel, options).unwrap();
    let found = (0..20).any(|_| {
        let sample = sampler.sample(&kernel).unwrap();
        sample.processes[0].key.id.pid == 311
    });
    assert!(found);
}
