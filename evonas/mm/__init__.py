"""OpenMMLab: its heads on evonas backbones, where its packages are installed; nothing else imports them."""
