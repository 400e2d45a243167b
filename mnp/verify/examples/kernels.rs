//! Kernels in Rust, and what lets the judge run them. Standard library only.
//!
//!     rustc --edition 2021 -O -o kernels kernels.rs
//!     mnp check --command ./kernels
//!
//! The judge writes a line of JSON for each case; the arrays lie in a safetensors file: eight bytes with the
//! length of a header, the header in JSON, the numbers. All the JSON here is written by a program in one form, so
//! `find` finds what is wanted. The kernels compute in f64; results are written in the type of the inputs.

use std::io::{self, BufRead, Write};
use std::{fs, str};

struct Array {
    shape: Vec<usize>,
    data: Vec<f64>, // C order
}

impl Array {
    fn zeros(shape: &[usize]) -> Array {
        Array { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
    }

    /// Where the element with these indices lies.
    fn at(&self, indices: &[usize]) -> usize {
        indices.iter().zip(&self.shape).fold(0, |at, (i, n)| at * n + i)
    }
}

/// The text between two others, the first of which begins a value.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

/// One case: the line that was read, the file of its inputs, and the outputs so far.
struct Case {
    line: String,
    header: String,
    body: Vec<u8>,
    floats: String, // the type of the inputs, "F32" or "F64"
    outputs: Vec<(&'static str, Array, bool)>, // the last: whether it holds integers
}

impl Case {
    fn read(line: &str) -> io::Result<Case> {
        let bytes = fs::read(between(line, "\"inputs\": \"", "\"").unwrap_or_default())?;
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = str::from_utf8(&bytes[8..8 + length]).unwrap().to_string();
        let body = bytes[8 + length..].to_vec();
        Ok(Case { line: line.to_string(), header, body, floats: "F64".to_string(), outputs: vec![] })
    }

    /// A whole number among the arguments; true is 1.
    fn number(&self, name: &str) -> usize {
        let rest = between(&self.line, &format!("\"{name}\": "), "}").expect(name);
        let text = rest.split(',').next().unwrap();
        if text == "true" { 1 } else { text.parse().unwrap_or(0) }
    }

    fn array(&mut self, name: &str) -> Array {
        let entry = between(&self.header, &format!("\"{name}\":{{"), "}").expect(name);
        let kind = between(entry, "\"dtype\":\"", "\"").unwrap().to_string();
        let list = |key: &str| -> Vec<usize> {
            let text = between(entry, &format!("\"{key}\":["), "]").unwrap();
            text.split(',').filter_map(|n| n.parse().ok()).collect()
        };
        let (shape, ends) = (list("shape"), list("data_offsets"));
        let bytes = &self.body[ends[0]..ends[1]];
        let data = match kind.as_str() {
            "F64" => bytes.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            "F32" => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            "I64" => bytes.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            "I32" => bytes.chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            _ => bytes.iter().map(|&b| b as f64).collect(), // U8, BOOL
        };
        if kind.starts_with('F') {
            self.floats = kind;
        }
        Array { shape, data }
    }

    fn write(&self) -> io::Result<()> {
        let (mut entries, mut body) = (vec![], vec![]);
        for (name, array, integers) in &self.outputs {
            let (start, kind) = (body.len(), if *integers { "I64" } else { &self.floats });
            for &value in &array.data {
                match kind {
                    "I64" => body.extend((value as i64).to_le_bytes()),
                    "F32" => body.extend((value as f32).to_le_bytes()),
                    _ => body.extend(value.to_le_bytes()),
                }
            }
            let (shape, end) = (&array.shape, body.len());
            entries.push(format!(r#""{name}":{{"dtype":"{kind}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#));
        }
        let header = format!("{{{}}}", entries.join(","));
        let length = (header.len() as u64).to_le_bytes();
        let path = between(&self.line, "\"outputs\": \"", "\"").unwrap();
        fs::write(path, [&length[..], header.as_bytes(), &body].concat())
    }
}

// --- the kernels: each puts its outputs into the case; false: not written yet ---

fn conv2d_forward(case: &mut Case) -> bool {
    let (x, weight, bias) = (case.array("x"), case.array("weight"), case.array("bias"));
    let (stride, padding) = (case.number("stride"), case.number("padding"));
    let ([n_, c_, h_, w_], [f_, kh, kw]) = ([0, 1, 2, 3].map(|d| x.shape[d]), [0, 2, 3].map(|d| weight.shape[d]));
    let (oh_, ow_) = ((h_ + 2 * padding - kh) / stride + 1, (w_ + 2 * padding - kw) / stride + 1);
    let mut y = Array::zeros(&[n_, f_, oh_, ow_]);
    // the kernel itself
    let mut out = 0;
    for n in 0..n_ { for f in 0..f_ { for oh in 0..oh_ { for ow in 0..ow_ {
        let mut sum = bias.data[f];
        for c in 0..c_ { for i in 0..kh { for j in 0..kw {
            // with the padding taken off; what lies in it is zero
            let (h, w) = ((oh * stride + i).wrapping_sub(padding), (ow * stride + j).wrapping_sub(padding));
            if h < h_ && w < w_ {
                sum += x.data[x.at(&[n, c, h, w])] * weight.data[weight.at(&[f, c, i, j])];
            }
        }}}
        y.data[out] = sum;
        out += 1;
    }}}}
    case.outputs.push(("y", y, false));
    true
}

fn conv2d_backward(case: &mut Case) -> bool {
    let (dy, x, weight) = (case.array("dy"), case.array("x"), case.array("weight"));
    let (stride, padding, need_dx) = (case.number("stride"), case.number("padding"), case.number("need_dx"));
    let ([c_, h_, w_], [kh, kw]) = ([1, 2, 3].map(|d| x.shape[d]), [2, 3].map(|d| weight.shape[d]));
    let (mut dx, mut dweight) = (Array::zeros(&x.shape), Array::zeros(&weight.shape));
    let mut dbias = Array::zeros(&weight.shape[..1]);
    // the kernel itself
    let [n_, f_, oh_, ow_] = [0, 1, 2, 3].map(|d| dy.shape[d]);
    for n in 0..n_ { for f in 0..f_ { for oh in 0..oh_ { for ow in 0..ow_ {
        let d = dy.data[dy.at(&[n, f, oh, ow])];
        dbias.data[f] += d;
        for c in 0..c_ { for i in 0..kh { for j in 0..kw {
            let (h, w) = ((oh * stride + i).wrapping_sub(padding), (ow * stride + j).wrapping_sub(padding));
            if h < h_ && w < w_ {
                let (pixel, tap) = (x.at(&[n, c, h, w]), weight.at(&[f, c, i, j]));
                dx.data[pixel] += d * weight.data[tap];
                dweight.data[tap] += d * x.data[pixel];
            }
        }}}
    }}}}
    if need_dx == 1 {
        case.outputs.push(("dx", dx, false));
    }
    case.outputs.push(("dweight", dweight, false));
    case.outputs.push(("dbias", dbias, false));
    true
}

fn maxout_forward(case: &mut Case) -> bool {
    let z = case.array("z"); // (N, units, k)
    let (mut y, mut winner) = (Array::zeros(&z.shape[..2]), Array::zeros(&z.shape[..2]));
    // the kernel itself
    for (row, neurons) in z.data.chunks(z.shape[2]).enumerate() {
        let mut best = 0;
        for (j, &value) in neurons.iter().enumerate() {
            // the first of equal values wins, and a NaN over any number
            if value > neurons[best] || (value.is_nan() && !neurons[best].is_nan()) {
                best = j;
            }
        }
        y.data[row] = neurons[best];
        winner.data[row] = best as f64;
    }
    case.outputs.push(("y", y, false));
    case.outputs.push(("winner", winner, true));
    true
}

fn maxout_backward(case: &mut Case) -> bool {
    let (dy, winner, k) = (case.array("dy"), case.array("winner"), case.number("k"));
    let mut dz = Array::zeros(&[dy.shape[0], dy.shape[1], k]);
    // the kernel itself
    for (row, (d, j)) in dy.data.iter().zip(&winner.data).enumerate() {
        dz.data[row * k + *j as usize] = *d;
    }
    case.outputs.push(("dz", dz, false));
    true
}

fn win_counts(case: &mut Case) -> bool {
    let (winner, k) = (case.array("winner"), case.number("k"));
    let mut counts = Array::zeros(&[winner.shape[1], k]);
    // the kernel itself
    for (row, j) in winner.data.iter().enumerate() {
        counts.data[row % winner.shape[1] * k + *j as usize] += 1.0;
    }
    case.outputs.push(("counts", counts, true));
    true
}

const KERNELS: [(&str, fn(&mut Case) -> bool); 5] = [
    ("conv2d_forward", conv2d_forward),
    ("conv2d_backward", conv2d_backward),
    ("maxout_forward", maxout_forward),
    ("maxout_backward", maxout_backward),
    ("win_counts", win_counts),
];

fn answer(line: &str) -> io::Result<String> {
    let name = between(line, "\"kernel\": \"", "\"").unwrap_or_default();
    if name == "list" {
        return Ok(KERNELS.map(|kernel| kernel.0).join(" "));
    }
    let mut case = Case::read(line)?;
    match KERNELS.iter().find(|kernel| kernel.0 == name) {
        Some((_, run)) if run(&mut case) => case.write().map(|()| "ok".to_string()),
        _ => Ok("not implemented".to_string()),
    }
}

fn main() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        println!("{}", answer(&line?)?);
        io::stdout().flush()?;
    }
    Ok(())
}
