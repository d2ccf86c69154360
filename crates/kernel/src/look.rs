//! Looking at this process's memory without changing it: what `/proc/self/smaps`, `pagemap` and `status` say, and which
//! pages of memfds are filled.
//!
//! For a comparison of the kernel with a model of it, which looks after every call, also on emulated machines: one call
//! here is a handful of system calls, and nothing is interpreted that the other side can interpret.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use crate::page_size;
use crate::raw::{access, memfd};

const CHUNK_BYTES: usize = 1 << 16;
const ENTRY_BYTES: usize = 8;
const PRESENT: u64 = 1 << 63;
/// More of a file is not looked at: what is larger is sparse, and seen through its mappings.
const FILE_PAGES_MAX: u64 = 64;

struct Range {
    start: usize,
    end: usize,
    readable: bool,
}

/// What is seen, as JSON: the text of smaps below the address `limit`; those of the page addresses whose page is present,
/// each with the word at its start, or null where it cannot be read; for each descriptor of a memfd its size, and index and
/// first word of each filled page; the pages that count as locked.
///
/// # Errors
/// Those of reading `/proc` and the files.
pub fn look(addresses: &[usize], limit: usize, descriptors: &[i32]) -> io::Result<String> {
    let (text, ranges) = mappings(limit)?;
    let mut json = String::with_capacity(text.len() * 2);
    json.push('[');
    quote(&mut json, &text);
    json.push_str(",[");
    present(&mut json, addresses, &ranges)?;
    json.push_str("],[");
    for (number, &descriptor) in descriptors.iter().enumerate() {
        json.push_str(if number == 0 { "" } else { "," });
        filled(&mut json, descriptor)?;
    }
    write!(json, "],{}]", locked_pages()?).map_err(io::Error::other)?;
    Ok(json)
}

/// Smaps as text up to an address: reading on would walk the page tables of the whole process.
fn mappings(limit: usize) -> io::Result<(String, Vec<Range>)> {
    let mut file = File::open("/proc/self/smaps")?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut text, mut ranges) = (String::new(), Vec::new());
    loop {
        let read = file.read(&mut chunk)?;
        let begin = text.len();
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
        let mut position = begin;
        for line in text[begin..].split_inclusive('\n') {
            if let Some(range) = header(line) {
                if range.start >= limit {
                    text.truncate(position);
                    return Ok((text, ranges));
                }
                ranges.push(range);
            }
            position += line.len();
        }
        if read == 0 {
            return Ok((text, ranges));
        }
    }
}

/// The range of a mapping's first line. The kernel gives whole records, and begins the other lines with capitals.
fn header(line: &str) -> Option<Range> {
    if !line.starts_with(|first: char| first.is_ascii_digit() || first.is_ascii_lowercase()) {
        return None;
    }
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let parse = |digits| usize::from_str_radix(digits, 16).ok();
    Some(Range { start: parse(start)?, end: parse(end)?, readable: rest.starts_with('r') })
}

fn present(json: &mut String, addresses: &[usize], ranges: &[Range]) -> io::Result<()> {
    let pagemap = File::open("/proc/self/pagemap")?;
    let mut rest = addresses;
    let mut separator = "";
    while let Some(&first) = rest.first() {
        let row = rest.iter().enumerate().take_while(|&(index, &at)| at == first + index * page_size()).count();
        let mut entries = vec![0; row * ENTRY_BYTES];
        if ranges.iter().any(|range| range.start < first + row * page_size() && first < range.end) {
            pagemap.read_exact_at(&mut entries, (first / page_size() * ENTRY_BYTES) as u64)?;
        }
        for (&address, entry) in rest.iter().zip(entries.chunks_exact(ENTRY_BYTES)) {
            if word(entry) & PRESENT == 0 {
                continue;
            }
            let readable = ranges.iter().any(|range| range.readable && (range.start..range.end).contains(&address));
            let mut bytes = [0; ENTRY_BYTES];
            let number = if readable && access::peek(address, &mut bytes).is_ok() {
                word(&bytes).to_string()
            } else {
                "null".to_owned()
            };
            write!(json, "{separator}[{address},{number}]").map_err(io::Error::other)?;
            separator = ",";
        }
        rest = &rest[row..];
    }
    Ok(())
}

fn filled(json: &mut String, descriptor: i32) -> io::Result<()> {
    let failed = io::Error::from_raw_os_error;
    let size = memfd::seek(descriptor, 0, libc::SEEK_END).map_err(failed)?;
    let page = page_size() as u64;
    write!(json, "[{size},[").map_err(io::Error::other)?;
    let (mut end, limit) = (0, size.min(FILE_PAGES_MAX * page));
    let mut separator = "";
    while end < limit {
        let start = match memfd::seek(descriptor, end.cast_signed(), libc::SEEK_DATA) {
            Ok(start) => start,
            Err(libc::ENXIO) => break,
            Err(errno) => return Err(failed(errno)),
        };
        end = memfd::seek(descriptor, start.cast_signed(), libc::SEEK_HOLE).map_err(failed)?;
        for offset in (start..end.min(limit)).step_by(page_size()) {
            let mut bytes = [0; ENTRY_BYTES];
            memfd::read_at(descriptor, &mut bytes, offset).map_err(failed)?;
            write!(json, "{separator}[{},{}]", offset / page, word(&bytes)).map_err(io::Error::other)?;
            separator = ",";
        }
    }
    json.push_str("]]");
    Ok(())
}

fn locked_pages() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let number =
        status.lines().find_map(|line| line.strip_prefix("VmLck:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let kib: usize = number.ok_or_else(|| io::Error::other("/proc/self/status has no VmLck"))?;
    Ok(kib * 1024 / page_size())
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Appends a JSON string. Names of files may have anything in them.
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for line in text.split_inclusive('\n') {
        let content = line.strip_suffix('\n').unwrap_or(line);
        json.extend(
            content.chars().map(|each| if matches!(each, '"' | '\\') || each.is_control() { '?' } else { each }),
        );
        json.push_str(if content.len() < line.len() { "\\n" } else { "" });
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_told_from_the_others() {
        let found = header("10000000000-10000001000 r--p 00000000 00:00 0  /a-b c\n").expect("a first line");
        assert_eq!((found.start, found.end, found.readable), (1 << 40, (1 << 40) + 4096, true));
        let closed = header("10000000000-10000001000 ---p 00000000 00:00 0\n").expect("a first line");
        assert!(!closed.readable);
        assert!(header("Size:                  4 kB\n").is_none());
        assert!(header("VmFlags: rd wr mr mw me ac\n").is_none());
    }

    #[test]
    fn whatever_a_name_has_in_it_is_json() {
        let mut json = String::new();
        quote(&mut json, "a \"b\\\tc\nd");
        assert_eq!(json, "\"a ?b??c\\nd\"");
        let value: String = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value, "a ?b??c\nd");
    }

    #[test]
    fn a_page_is_seen_by_what_is_in_it() {
        let memory = vec![7_u8; 3 * page_size()];
        let address = (memory.as_ptr() as usize).next_multiple_of(page_size());
        let seen: serde_json::Value =
            serde_json::from_str(&look(&[0, address], usize::MAX, &[]).expect("a look")).expect("JSON");
        assert_eq!(seen[1], serde_json::json!([[address, 0x0707_0707_0707_0707_u64]]));
        assert!(seen[0].as_str().is_some_and(|text| text.contains("VmFlags:")));
        assert_eq!(seen[2], serde_json::json!([]));
    }

    #[test]
    fn a_file_is_seen_without_its_holes() {
        let fd = memfd::create(c"seen", 0).expect("a memfd");
        let page = page_size() as i64;
        memfd::ftruncate(fd, 4 * page).expect("a size");
        let file = File::options().write(true).open(format!("/proc/self/fd/{fd}")).expect("the same memfd");
        file.write_all_at(&[7; ENTRY_BYTES], 2 * page.cast_unsigned()).expect("a filled page");
        memfd::fallocate(fd, 0, 0, page).expect("a page that nobody has filled");
        let seen: serde_json::Value = serde_json::from_str(&look(&[], 0, &[fd]).expect("a look")).expect("JSON");
        assert_eq!(seen[2], serde_json::json!([[4 * page, [[2, 0x0707_0707_0707_0707_u64]]]]));
        assert_eq!(seen[0], "");
    }
}
