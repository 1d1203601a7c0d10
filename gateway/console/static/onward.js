// This browser is signed in for the tenant that asks: no need to read the page and press the button.
document.getElementById("approve").submit();
