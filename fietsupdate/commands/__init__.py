"""The commands: each parses its own words, asks the `fietsupdate.updater.Updater`, and renders what it says."""
