pub mod process {}
