"""What each command does, one module a verb; `fietsupdate.updater.Updater` calls them."""
