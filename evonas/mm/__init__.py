"""OpenMMLab: its heads on our backbones, where its packages are installed; nothing else imports them."""
