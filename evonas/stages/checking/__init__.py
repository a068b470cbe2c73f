"""What `stage=check` finds in data, and the page that shows it."""
