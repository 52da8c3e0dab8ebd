mod conversation;
mod golden;
mod patching;
