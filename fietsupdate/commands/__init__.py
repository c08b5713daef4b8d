"""What each command does, one module per command; `fietsupdate.updater.Updater` calls them."""
